"""A phase: named steps over a model. What changed is counted, and after a change the model is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import islice

from effc.compiler import ir
from effc.core.errors import EffcError

Transform = Callable[[ir.Model], bool]
"""Edits a model in place and says whether it changed it."""


@dataclass(frozen=True)
class Step:
    """One named transformation. `apply` edits in place and returns whether it changed the model.

    Attributes:
        since: the first opset that has the op which the step makes; below it the step is left out.
    """

    name: str
    apply: Transform
    since: int = 0


@dataclass(frozen=True)
class Phase:
    """Steps that run in order, the whole list again until nothing changes or `rounds` have passed.

    Attributes:
        by_round: its steps do without the shapes of what those before them made, so shapes are inferred once a round
            and the checker looks at the end only.
    """

    name: str
    steps: tuple[Step, ...]
    rounds: int = 1
    by_round: bool = False


@dataclass(frozen=True)
class StepRecord:
    """A step that changed the graph: nodes before and after. Goes into the manifest as it is."""

    phase: str
    step: str
    nodes_before: int
    nodes_after: int


class StepFailed(EffcError):
    """A step stopped in the midst of an edit: its model is to be thrown away. `step` is its name."""

    def __init__(self, step: str, what: str) -> None:
        super().__init__(what, where=f"step {step!r}")
        self.step = step


def run(model: ir.Model, phases: Sequence[Phase]) -> tuple[StepRecord, ...]:
    """Run phases on the model in place; one record for each application that changed it.

    Raises:
        StepFailed: a step broke.
        EffcError: a step, or a round of them, left a model that the checker refuses.
    """
    records = apply(model, phases)
    if records and any(phase.by_round for phase in phases):
        from effc.compiler.settle import settle

        settle(model, where=phases[-1].name)
    return records


def apply(
    model: ir.Model, phases: Sequence[Phase], *, without: Set[str] = frozenset(), most: int | None = None
) -> tuple[StepRecord, ...]:
    """`run` whose last round is not checked.

    Args:
        without: names of steps that are left out.
        most: stop after so many changes.
    """
    return tuple(islice((record for phase in phases for record in _changes(model, phase, without)), most))


def _changes(model: ir.Model, phase: Phase, without: Set[str]) -> Iterator[StepRecord]:
    from effc.compiler.settle import infer_missing

    for _ in range(phase.rounds):
        changed = False
        for step in phase.steps:
            if step.name not in without and (record := _apply(model, phase, step)) is not None:
                changed = True
                yield record
        if not changed:
            return
        if phase.by_round:
            infer_missing(model, where=phase.name)


def _apply(model: ir.Model, phase: Phase, step: Step) -> StepRecord | None:
    from effc.compiler.settle import settle

    before = len(model.graph)
    try:
        changed = step.apply(model)
    except Exception as error:
        raise StepFailed(step.name, f"{type(error).__name__}: {error}") from error
    if not changed:
        return None
    if not phase.by_round:
        settle(model, where=f"{phase.name}/{step.name}")
    return StepRecord(phase.name, step.name, before, len(model.graph))
