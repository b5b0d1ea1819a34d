"""Lengths of vectors whose parts lie one after another along an axis, as a Fourier transform by Conv gives them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from effc.compiler import ir
from effc.compiler.edit import Before
from effc.compiler.passes.compose.reductions import squared
from effc.compiler.passes.polynomials import encloses
from effc.compiler.passes.rewrite import each, input_at, is_float, maker, scalar
from effc.compiler.phase import Step


@dataclass(frozen=True)
class Part:
    """x[start:end] along one axis, of `size` elements in all; `square` is its square's node."""

    node: ir.Node
    square: ir.Node
    x: ir.Value
    axis: int
    start: int
    end: int
    size: int


def magnitude(node: ir.Node) -> bool:
    """Sqrt(x[:n]^2 + x[n:]^2) of 2 n elements is ReduceL2 of x reshaped to two times n."""
    total = maker(node.inputs[0], "Add")
    parts = [] if total is None else [_part(value) for value in total.inputs]
    if total is None or parts[0] is None or parts[1] is None:
        return False
    low, high = sorted((part for part in parts if part is not None), key=lambda part: part.start)
    halves = low.start == 0 and low.end == high.start and high.end == low.size and 2 * low.end == low.size
    if low.x is not high.x or low.axis != high.axis or not halves or not is_float(low.x):
        return False
    dims = [d if isinstance(d, int) else -1 for d in ir.shape(low.x) or ()]
    if dims.count(-1) > 1 or 0 in dims:
        return False
    if not encloses(node, (total, low.square, high.square, low.node, high.node)):
        return False
    before, axis = Before(node), low.axis
    shape = np.array([*dims[:axis], 2, low.end, *dims[axis + 1 :]], np.int64)
    pairs = before.op("Reshape", low.x, before.const("pairs", shape))
    return before.replace(before.op("ReduceL2", pairs, before.const("axis", np.array([axis], np.int64)), keepdims=0))


def _part(value: ir.Value | None) -> Part | None:
    """The slice that the value is the square of."""
    base = squared(value)
    node, square = maker(base, "Slice"), None if value is None else value.producer()
    if node is None or square is None or node.inputs[0] is None:
        return None
    numbers = [scalar(input_at(node, index)) for index in (1, 2, 3)]
    step, rank = input_at(node, 4), ir.rank(node.inputs[0])
    if None in numbers or rank == 0 or (step is not None and scalar(step) != 1.0) or _count(node) != 1:
        return None
    start, end, axis = (int(number or 0) for number in numbers)
    size = (ir.shape(node.inputs[0]) or ())[axis % rank]
    if not isinstance(size, int):
        return None
    first, last = (min(max(n + size if n < 0 else n, 0), size) for n in (start, end))
    return Part(node, square, node.inputs[0], axis % rank, first, last, size)


def _count(node: ir.Node) -> int:
    """How many axes a Slice cuts."""
    axes = ir.const(input_at(node, 3))
    return 0 if axes is None else axes.size


STEPS = (Step("magnitudes", each(magnitude, "Sqrt")),)
