"""The simplification phases, one file each, in run order."""

from effc.compiler.passes import canonicalize, cleanup, fold, fuse, simplifier, transposes
from effc.compiler.phase import Phase

__all__ = ["SIMPLIFY"]

_ROUNDS = 10
_NORMALIZE = (*canonicalize.STEPS, *fold.STEPS, *cleanup.STEPS)

SIMPLIFY: tuple[Phase, ...] = (
    Phase("canonicalize", _NORMALIZE, _ROUNDS),
    Phase("fuse", (*fuse.STEPS, *cleanup.STEPS), _ROUNDS),
    Phase("transposes", (*transposes.STEPS, *cleanup.STEPS), _ROUNDS),
    Phase("simplifier", simplifier.STEPS),
    Phase("finish", (*_NORMALIZE, *fuse.STEPS, *transposes.STEPS), _ROUNDS),
)
