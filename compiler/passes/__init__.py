"""The simplification phases, one file each, in run order."""

from __future__ import annotations

from dataclasses import replace

from effc.compiler.passes import (
    branches,
    canonicalize,
    chains,
    cleanup,
    compose,
    constants,
    factors,
    fold,
    fuse,
    hard,
    outputs,
    products,
    resizes,
    rows,
    squeezes,
    symbols,
    transposes,
)
from effc.compiler.phase import Phase, Step

__all__ = ["SIMPLIFY", "simplification"]

_ROUNDS = 10


def _phases(folding: tuple[Step, ...], fusing: tuple[Step, ...]) -> tuple[Phase, ...]:
    normalize = (
        cleanup.DEAD_CODE,
        *canonicalize.STEPS,
        *squeezes.STEPS,
        *branches.STEPS,
        *chains.STEPS,
        *hard.STEPS,  # before their constants go into others
        *constants.STEPS,
        *symbols.STEPS,
        *resizes.STEPS,
        *folding,
        cleanup.SHARED_WEIGHTS,
    )
    return (
        Phase("canonicalize", normalize, _ROUNDS, by_round=True),
        Phase("fuse", (*fusing, *factors.EARLY_STEPS, *cleanup.EARLY), _ROUNDS, by_round=True),
        Phase("transposes", (*transposes.STEPS, *cleanup.STEPS), _ROUNDS, by_round=True),
        Phase("finish", (*normalize, *fusing, *transposes.STEPS, *cleanup.STEPS[-1:]), _ROUNDS, by_round=True),
    )


SIMPLIFY: tuple[Phase, ...] = _phases(fold.steps(), fuse.steps())
"""What every build starts with: ops as backends know them."""


def simplification(opset: int, *, evaluate: fold.Evaluator = fold.here, budget: int | None = None) -> tuple[Phase, ...]:
    """All phases for a model that is to be written at `opset`: those of a build, and larger ops where it has them.

    Args:
        evaluate, budget: of constant folding (`fold.steps`).
    """
    larger = Phase("compose", (*compose.STEPS, *cleanup.STEPS), _ROUNDS, by_round=True)
    last = Phase(
        "last",
        (*factors.STEPS, *rows.STEPS, *products.STEPS, *chains.LATE_STEPS, *canonicalize.STEPS, *cleanup.STEPS),
        _ROUNDS,
        by_round=True,
    )
    ready = Phase("outputs", outputs.STEPS, by_round=True)
    phases = (*_phases(fold.steps(evaluate, budget), fuse.steps(spread=budget is None)), larger, last, ready)
    return tuple(replace(p, steps=tuple(step for step in p.steps if step.since <= opset)) for p in phases)
