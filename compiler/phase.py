"""A phase: named steps over a model. What changed is counted, and after a change the model is checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from effc.compiler import ir

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
    """Steps that run in order, the whole list again until nothing changes or `rounds` have passed."""

    name: str
    steps: tuple[Step, ...]
    rounds: int = 1


@dataclass(frozen=True)
class StepRecord:
    """A step that changed the graph: nodes before and after. Goes into the manifest as it is."""

    phase: str
    step: str
    nodes_before: int
    nodes_after: int


def run(model: ir.Model, phases: Sequence[Phase]) -> tuple[StepRecord, ...]:
    """Run phases on the model in place; one record for each application that changed it.

    Raises EffcError (internal) naming the step when a step leaves a model that the checker refuses.
    """
    records: list[StepRecord] = []
    for phase in phases:
        for _ in range(phase.rounds):
            changed = [record for step in phase.steps if (record := _apply(model, phase, step))]
            records += changed
            if not changed:
                break
    return tuple(records)


def _apply(model: ir.Model, phase: Phase, step: Step) -> StepRecord | None:
    from effc.compiler import frontend

    before = len(model.graph)
    if not step.apply(model):
        return None
    frontend.settle(model, where=f"{phase.name}/{step.name}")
    return StepRecord(phase.name, step.name, before, len(model.graph))
