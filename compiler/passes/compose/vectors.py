"""Constants that broadcast over a tensor, as the vectors that normalizations take."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from effc.compiler import ir
from effc.compiler.passes.rewrite import constant

Fit = Callable[[ir.Array], ir.Array | None]


@dataclass(frozen=True)
class Held:
    """A constant, and the value that holds it already, if one does."""

    array: ir.Array
    value: ir.Value | None = None

    def named(self, node: ir.Node, name: str, fitted: ir.Array) -> ir.Value:
        """The value of the constant in its fitted form: its own where that has the same shape, else a new one."""
        if self.value is not None and fitted.shape == self.array.shape:
            return self.value
        return constant(node, name, np.asarray(fitted, ir.numpy_dtype(node.outputs[0])))


def over_last(array: ir.Array, x: ir.Value, axis: int, given: Sequence[int] = ()) -> ir.Array | None:
    """The constant, which broadcasts over x, in the shape of x from `axis` on; None where it varies along others.

    Args:
        given: dims of a constant that tells the size of the last axis where x does not.
    """
    dims = ir.static_shape_from(x, axis)
    if dims is None and axis == ir.rank(x) - 1 and given and given[-1] > 1:
        dims = (given[-1],)
    inner = max(0, array.ndim - (ir.rank(x) - axis))
    if dims is None or any(d != 1 for d in array.shape[:inner]):
        return None
    return _broadcast(array.reshape(array.shape[inner:]), dims)


def over_channels(array: ir.Array, x: ir.Value, given: Sequence[int] = ()) -> ir.Array | None:
    """The constant, which broadcasts over x, as a vector over axis 1; None where it varies along other axes.

    Args:
        given: dims of a constant that tells the number of channels where x does not.
    """
    rank, channel = ir.rank(x), (ir.shape(x) or ("?", "?"))[1]
    size = channel if isinstance(channel, int) else math.prod(given)
    dims = (1,) * (rank - array.ndim) + array.shape
    if array.ndim > rank or any(d != 1 for axis, d in enumerate(dims) if axis != 1):
        return None
    return _broadcast(array.reshape(-1), (size,)) if size > 1 or channel == 1 else None


def _broadcast(array: ir.Array, dims: tuple[int, ...]) -> ir.Array | None:
    if array.shape == dims:
        return array
    fits = array.ndim <= len(dims) and all(d in (1, n) for d, n in zip(array.shape[::-1], dims[::-1], strict=False))
    return np.array(np.broadcast_to(array, dims)) if fits else None
