"""What each target makes of a model, told from tables: no backend's library is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property

from effc.backends import base
from effc.calibration.leftover import Leftover, leftover
from effc.compiler import ir, lowering, phase
from effc.compiler.cost import work
from effc.compiler.sized import Sizes, sized
from effc.compiler.walk import everywhere, with_inner, within
from effc.core.errors import Caution, EffcError, Refusal, UnsupportedOps
from effc.core.target import Target


@dataclass(frozen=True)
class TargetSupport:
    """One target's view of the model.

    Attributes:
        nodes: nodes of the model once it is legalized for the target, those in branches and loop bodies too.
        share: fraction 0..1 of them that the target takes; none that lies within one that it does not.
        refusals: every one that it does not take, and what it does not take of the inputs: each stops a build.
        cautions: every one that it takes, but in float32 or with a slow kernel.
        native: fraction 0..1 of the MACs that run in the target's own precision; None where that is float32, and where
            MACs could not be counted.
        error: why the target could not even be asked, empty if it could.
        install: the line that installs what a build would need and is not here.
    """

    target: str
    nodes: int
    share: float
    refusals: tuple[Refusal, ...]
    cautions: tuple[Caution, ...] = ()
    native: float | None = None
    error: str = ""
    install: str = ""

    @property
    def blocked(self) -> bool:
        """Whether a build would be refused."""
        return bool(self.refusals or self.error)


def ask(model: ir.Model, targets: Iterable[Target], at: Sizes) -> tuple[TargetSupport, ...]:
    """Each target's view of a simplified model; MACs are counted with symbolic dims of these sizes.

    Raises BadInput for a target that no backend builds.
    """
    pairs = [(base.for_target(target), target) for target in targets]
    trials = _Trials(_Legal(model, at))
    found = [trials.seen(backend, target) for backend, target in pairs]
    return tuple(_advised(found))


@dataclass(frozen=True)
class _Seen:
    """A target's view, and the names of the nodes that it does not take; None where it could not be asked."""

    support: TargetSupport
    lost: frozenset[str] | None


@dataclass(frozen=True)
class _Legal:
    """The model in a target's ops."""

    model: ir.Model
    at: Sizes

    @cached_property
    def macs(self) -> dict[str, int]:
        """The MACs of each node by name; none where they cannot be counted."""
        try:
            made = sized(self.model, self.at)
        except EffcError:
            return {}
        return {node.name or "": work(node).macs for node in made.graph}


@dataclass
class _Trials:
    """The model as legalized so far: targets with the same steps, or whose steps change nothing, share it."""

    plain: _Legal
    legal: dict[object, _Legal | EffcError] = field(default_factory=dict)
    left: dict[object, Leftover] = field(default_factory=dict)

    def seen(self, backend: base.Backend, target: Target) -> _Seen:
        """What the target makes of the model."""
        phases, install = backend.legalize(target), backend.missing() or ""
        steps = tuple((one.name, *(step.name for step in one.steps)) for one in phases)
        if steps not in self.legal:
            self.legal[steps] = _legalized(self.plain, phases)
        found = self.legal[steps]
        if isinstance(found, EffcError):
            refusals = found.refusals if isinstance(found, UnsupportedOps) else ()
            nodes = len(list(everywhere(self.plain.model.graph)))
            return _Seen(TargetSupport(str(target), nodes, 0.0, refusals, error=found.what, install=install), None)
        seen = _view(found, backend, target, self._leftover(found.model, backend, target))
        return replace(seen, support=replace(seen.support, install=install))

    def _leftover(self, model: ir.Model, backend: base.Backend, target: Target) -> Leftover:
        scheme, narrowing = backend.scheme(target), backend.narrowing(target)
        key = (id(model), scheme and scheme.name, narrowing)
        if key not in self.left:
            self.left[key] = leftover(model, scheme, narrowing)
        return self.left[key]


def _view(legal: _Legal, backend: base.Backend, target: Target, told: Leftover) -> _Seen:
    refusals, count = backend.support(legal.model, target), sum(1 for _ in everywhere(legal.model.graph))
    lost = list(_lost(legal.model.graph, {refusal.node for refusal in refusals}))
    names = frozenset(map(lowering.named, lost))
    slow = backend.cautions(legal.model, target) if isinstance(backend, base.Cautious) else ()
    cautions = tuple(caution for caution in (*slow, *told.cautions) if caution.node not in names)
    refused = refusals or _idle(legal.model, backend, target, told)
    share = (count - len(lost)) / count if count else 1.0
    own = backend.scheme(target) is not None or backend.narrowing(target) is not None
    native = _native(legal.macs, told) if own else None
    return _Seen(TargetSupport(str(target), count, share, refused, cautions, native), names)


def _lost(graph: ir.Graph, refused: Set[str]) -> Iterator[ir.Node]:
    """The refused nodes, with all that lies in their branches and bodies."""
    for node in graph:
        if lowering.named(node) in refused:
            yield from with_inner(node)
        else:
            for inner in within(node):
                yield from _lost(inner, refused)


def _native(macs: Mapping[str, int], told: Leftover) -> float | None:
    total, left = sum(macs.values()), sum(macs.get(caution.node, 0) for caution in told.cautions)
    return 1.0 - left / total if total else None


def _legalized(plain: _Legal, phases: Sequence[phase.Phase]) -> _Legal | EffcError:
    trial = plain.model.clone()
    try:
        changed = phase.run(trial, phases)
    except EffcError as error:
        return error
    return _Legal(trial, plain.at) if changed else plain


def _idle(model: ir.Model, backend: base.Backend, target: Target, told: Leftover) -> tuple[Refusal, ...]:
    """A quantized artifact with no quantized kernel is refused by the build."""
    if backend.scheme(target) is None or told.quantized or any(n.op_type == "QuantizeLinear" for n in model.graph):
        return ()
    reason = "not one of its nodes can run quantized"
    return (Refusal(model.graph.name or "graph", "model", reason, "build the float target"),)


def _advised(found: Sequence[_Seen]) -> Iterator[TargetSupport]:
    """With hints where the tables have none: who takes the node instead, as far as was asked."""
    lost = {seen.support.target: seen.lost for seen in found if seen.lost is not None}
    for one in (seen.support for seen in found):
        others = {name: nodes for name, nodes in lost.items() if name != one.target}
        hinted = (
            refusal if refusal.hint else replace(refusal, hint=_hint(refusal, others)) for refusal in one.refusals
        )
        yield replace(one, refusals=tuple(hinted))


def _hint(refusal: Refusal, others: Mapping[str, Set[str]]) -> str:
    takers = [name for name, nodes in others.items() if refusal.node not in nodes]
    if takers:
        more = f" and {len(takers) - _NAMED} more" if len(takers) > _NAMED else ""
        return f"{', '.join(takers[:_NAMED])}{more} would take it"
    if others:
        return "no target that was asked takes it: replace it in the model"
    return "`effc check MODEL` without --target tells which targets take it"


_NAMED = 3
