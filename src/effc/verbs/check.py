"""`effc check MODEL`: what a model is and costs, and what each target makes of it, before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from effc.backends import base
from effc.compiler import ir
from effc.compiler.cost import Costs, costs
from effc.compiler.footprint import Footprint, footprint
from effc.compiler.pipeline import prepare
from effc.compiler.sized import fixing, sized, symbols
from effc.compiler.walk import everywhere, op_counts
from effc.core.errors import EffcError
from effc.core.manifest import Source, TensorInfo
from effc.core.target import Target
from effc.verbs.asked import TargetSupport, ask

Shapes = Mapping[str, tuple[int | str, ...]]


@dataclass(frozen=True)
class OpenInput:
    """An input with symbolic dims. `fix` is what may stand behind `--shape`, with 1 for each size that is wanted."""

    name: str
    symbols: tuple[str, ...]
    fix: str


@dataclass(frozen=True)
class Estimate:
    """What one run computes and holds.

    Attributes:
        at: the sizes of symbolic dims that it was counted at.
        error: why it could not be counted at them, empty if it could.
    """

    at: Mapping[str, int]
    costs: Costs | None = None
    memory: Footprint | None = None
    error: str = ""


@dataclass(frozen=True)
class CheckReport:
    """What `effc check` prints. `ops` counts the nodes of the simplified model by op."""

    source: Source
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    open: tuple[OpenInput, ...]
    ops: Mapping[str, int]
    estimate: Estimate
    targets: tuple[TargetSupport, ...]

    @property
    def blocked(self) -> bool:
        """Whether any target refuses something."""
        return any(target.blocked for target in self.targets)


def check(model: Path, shapes: Shapes, targets: tuple[Target, ...] = ()) -> CheckReport:
    """Load, simplify, count, and ask each target (all of them when none is named).

    Raises BadInput for a bad model or a target that no backend builds.
    """
    wanted = targets or every_target()
    for target in wanted:
        base.for_target(target)
    prepared = prepare(model, shapes, proof=False)
    graph, counted = prepared.model.graph, estimate(prepared.model)
    return CheckReport(
        prepared.source,
        tuple(_info(value) for value in graph.inputs),
        tuple(_info(value) for value in graph.outputs),
        tuple(found for value in graph.inputs if (found := _open(value)) is not None),
        op_counts(everywhere(prepared.model.graph)),
        counted,
        ask(prepared.model, wanted, counted.at),
    )


def every_target() -> tuple[Target, ...]:
    """All targets of all backends."""
    return tuple(Target.parse(info.name) for backend in base.find().values() for info in backend.targets())


def estimate(model: ir.Model) -> Estimate:
    """Cost and memory of one run, symbolic dims taken as 1."""
    at = dict.fromkeys(symbols(model), 1)
    try:
        made = sized(model, at)
    except EffcError as error:
        return Estimate(at, error=f"{error.where} {error.what}")
    return Estimate(at, costs(made), footprint(made))


def _open(value: ir.Value) -> OpenInput | None:
    dims = ir.shape(value) or ()
    found = tuple(dict.fromkeys(dim for dim in dims if isinstance(dim, str)))
    return OpenInput(value.name or "", found, fixing(value)) if found else None


def _info(value: ir.Value) -> TensorInfo:
    dtype = ir.numpy_dtype(value)
    return TensorInfo(value.name or "", dtype.name if dtype else "?", ir.shape(value) or ())
