"""The simplification phases, one file each, in run order."""

from dataclasses import replace

from effc.compiler.passes import canonicalize, cleanup, compose, fold, fuse, simplifier, transposes
from effc.compiler.phase import Phase

__all__ = ["SIMPLIFY", "simplification"]

_ROUNDS = 10
_NORMALIZE = (*canonicalize.STEPS, *fold.STEPS, *cleanup.STEPS)

SIMPLIFY: tuple[Phase, ...] = (
    Phase("canonicalize", _NORMALIZE, _ROUNDS),
    Phase("fuse", (*fuse.STEPS, *cleanup.STEPS), _ROUNDS),
    Phase("transposes", (*transposes.STEPS, *cleanup.STEPS), _ROUNDS),
    Phase("simplifier", simplifier.STEPS),
    Phase("finish", (*_NORMALIZE, *fuse.STEPS, *transposes.STEPS), _ROUNDS),
)
"""What every build starts with: ops as backends know them."""

_COMPOSE = (Phase("compose", (*compose.STEPS, *cleanup.STEPS), _ROUNDS),)


def simplification(opset: int) -> tuple[Phase, ...]:
    """All phases for a model that is to be written at `opset`: those of a build, and larger ops where it has them."""
    phases = (*SIMPLIFY, *_COMPOSE)
    return tuple(replace(p, steps=tuple(step for step in p.steps if step.since <= opset)) for p in phases)
