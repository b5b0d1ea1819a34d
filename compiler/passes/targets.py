"""Constant targets of Reshape for shapes of which some dims are symbols."""

from __future__ import annotations

import numpy as np

from effc.compiler import ir

Dims = tuple[int | str, ...]


def target(dims: Dims, source: Dims | None) -> ir.Array | None:
    """The second input of a Reshape to `dims`: -1 for one symbol, 0 for those that the source has at the same place.

    None where that does not tell all dims, or a dim is 0.
    """
    open_dims = [axis for axis, d in enumerate(dims) if not isinstance(d, int)]
    if 0 in dims:
        return None
    if len(open_dims) > 1:
        copied = [a for a in open_dims if source is not None and a < len(source) and dims[a] == source[a] != "?"]
        open_dims = [a for a in open_dims if a not in copied]
        if len(open_dims) > 1:
            return None
        return np.array([0 if a in copied else d if isinstance(d, int) else -1 for a, d in enumerate(dims)], np.int64)
    return np.array([d if isinstance(d, int) else -1 for d in dims], np.int64)


def same_but_ones(a: Dims, b: Dims) -> bool:
    """Whether both are the same dims in the same order, those of 1 left out; one unknown dim may stand for another."""
    first, second = ([d for d in dims if d != 1] for dims in (a, b))
    if len(first) != len(second):
        return False
    differ = [pair for pair in zip(first, second, strict=True) if pair[0] != pair[1] or "?" in pair]
    return len(differ) <= 1 and all("?" in pair for pair in differ)
