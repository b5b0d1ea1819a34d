"""`effc check MODEL`: what each target cannot take, all of it at once, before anything is built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from effc.backends import base
from effc.compiler import ir, phase
from effc.compiler.pipeline import prepare
from effc.core.errors import EffcError, Refusal
from effc.core.manifest import Source, TensorInfo
from effc.core.target import Target

Shapes = Mapping[str, tuple[int | str, ...]]


@dataclass(frozen=True)
class TargetSupport:
    """One target's view of the model.

    Attributes:
        nodes: nodes of the model once it is legalized for the target.
        share: fraction 0..1 of them that the target takes.
        refusals: every one that it does not take.
        error: why the target could not even be asked, empty if it could.
    """

    target: str
    nodes: int
    share: float
    refusals: tuple[Refusal, ...]
    error: str = ""


@dataclass(frozen=True)
class CheckReport:
    """What `effc check` prints. `ops` counts the nodes of the simplified model by op."""

    source: Source
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    ops: Mapping[str, int]
    targets: tuple[TargetSupport, ...]

    @property
    def blocked(self) -> bool:
        """Whether any target refuses something."""
        return any(target.refusals or target.error for target in self.targets)


def check(model: Path, shapes: Shapes, targets: tuple[Target, ...] = ()) -> CheckReport:
    """Load, simplify, and ask each target (all of them when none is named).

    Raises BadInput for a bad model or a target that no backend builds.
    """
    wanted = targets or every_target()
    backends = [base.for_target(target) for target in wanted]
    prepared = prepare(model, shapes, proof=False)
    graph = prepared.model.graph
    supports = tuple(_ask(backend, target, prepared.model) for backend, target in zip(backends, wanted, strict=True))
    inputs, outputs = ([_info(value) for value in values] for values in (graph.inputs, graph.outputs))
    return CheckReport(prepared.source, tuple(inputs), tuple(outputs), op_counts(prepared.model), supports)


def every_target() -> tuple[Target, ...]:
    """All targets of all backends."""
    return tuple(Target.parse(info.name) for backend in base.find().values() for info in backend.targets())


def op_counts(model: ir.Model) -> dict[str, int]:
    """Nodes by op, names sorted."""
    return dict(sorted(Counter(node.op_type for node in model.graph).items()))


def _ask(backend: base.Backend, target: Target, model: ir.Model) -> TargetSupport:
    trial = model.clone()
    try:
        phase.run(trial, backend.legalize(target))
        refusals = backend.support(trial, target)
    except EffcError as error:
        return TargetSupport(str(target), len(trial.graph), 0.0, getattr(error, "refusals", ()), error.what)
    nodes = len(trial.graph)
    return TargetSupport(str(target), nodes, 1.0 - len(refusals) / max(nodes, 1), refusals)


def _info(value: ir.Value) -> TensorInfo:
    dtype = ir.numpy_dtype(value)
    return TensorInfo(value.name or "", dtype.name if dtype else "?", ir.shape(value) or ())
