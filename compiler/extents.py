"""What is known of each float tensor's values: observed, constant, or bounded by the op that makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from effc.compiler import ir
from effc.compiler.ranges import Range

Extents = Mapping[ir.Value, Range]


def ops(names: str) -> frozenset[str]:
    """Op names apart by blanks."""
    return frozenset(names.split())


MOVES = ops(
    "Concat DepthToSpace Expand Flatten Gather GatherElements GatherND Identity Pad Reshape Reverse ScatterElements "
    "ScatterND Slice SpaceToDepth Split Squeeze Tile Transpose Trilu Unsqueeze"
)
"""Ops that compute nothing: every value of their outputs is a value of their float inputs, or 0."""
_CARRIES = MOVES | {"Add", "Sub", "Where", "Neg"}
_ONES = Range(-1.0, 1.0)
_SHARE = Range(0.0, 1.0)
BOUNDED = {
    **dict.fromkeys(("Sigmoid", "HardSigmoid", "Softmax"), _SHARE),
    **dict.fromkeys(("Tanh", "Erf", "Sin", "Cos", "Softsign"), _ONES),
}
_FAR = 1e4
_LARGEST = float(np.finfo(np.float32).max)


def extents(model: ir.Model, ranges: Mapping[str, Range], limit: float) -> dict[ir.Value, Range]:
    """The range of every float tensor of which one is known.

    A constant beyond `limit` that is added, multiplied or selected (a mask's lowest value, say) counts among the
    values of what comes of it, whether or not the observed samples show it.
    """
    graph = model.graph
    found = {v: r for v in graph.inputs if (r := ranges.get(v.name or "")) is not None}
    found.update({v: r for v in graph.initializers.values() if (r := _of_constant(v)) is not None})
    large: set[ir.Value] = set()
    for node in graph:
        for value in node.outputs:
            known = ranges.get(value.name or "") or _of_maker(node, found)
            extreme = _extreme(node, found, large, limit)
            if extreme is not None:
                known, large = extreme if known is None else known.union(extreme), large | {value}
            if known is not None:
                found[value] = known
    return found


def magnitude(extent: Range) -> float:
    """The largest absolute value."""
    return max(abs(extent.lo), abs(extent.hi))


def _of_constant(value: ir.Value) -> Range | None:
    array = ir.const(value)
    if array is None or array.dtype != np.float32 or not array.size:
        return None
    array = ir.distinct(array)
    if np.isnan(array).any():
        return None
    lo, hi = (float(np.clip(end, -_LARGEST, _LARGEST)) for end in (array.min(), array.max()))
    return Range(lo, hi)


def _of_maker(node: ir.Node, found: Extents) -> Range | None:
    if node.op_type in BOUNDED:
        return BOUNDED[node.op_type]
    bound = _BOUNDS.get(node.op_type)
    if bound is not None:
        return bound(node, found)
    return _of_inputs(node, found) if node.op_type in MOVES else None


def _of_inputs(node: ir.Node, found: Extents) -> Range | None:
    """The union of all float inputs and 0, which pads and fills bring in."""
    known = [found.get(v) for v in node.inputs if v is not None and v.dtype == ir.DataType.FLOAT]
    union = Range(0.0, 0.0)
    for extent in known:
        if extent is None:
            return None
        union = union.union(extent)
    return union if known else None


def _dequantized(node: ir.Node, found: Extents) -> Range | None:
    """scale * q for every q that the type holds."""
    del found
    held, scale = node.inputs[0], ir.const(node.inputs[1])
    if held is None or held.dtype is None or scale is None or not scale.size:
        return None
    largest = float(np.abs(np.asarray(scale, np.float32)).max())
    if held.dtype.name.startswith("FLOAT8"):
        return Range(-448.0 * largest, 448.0 * largest)
    bits = held.dtype.bitwidth
    lo, hi = (-(1 << bits - 1), (1 << bits - 1) - 1) if held.dtype.is_signed() else (0, (1 << bits) - 1)
    return Range(lo * largest, hi * largest)


def _clipped(node: ir.Node, found: Extents) -> Range | None:
    """Between the bounds, unless they are so far apart that they tell nothing of the values."""
    del found
    bounds = [ir.const(v) for v in (*node.inputs[1:], None, None)[:2]]
    ends = [float(bound.item()) for bound in bounds if bound is not None and bound.size == 1]
    near = len(ends) == 2 and all(abs(end) <= _FAR for end in ends) and ends[0] <= ends[1]
    return Range(ends[0], ends[1]) if near else None


_BOUNDS: Mapping[str, Callable[[ir.Node, Extents], Range | None]] = {
    "DequantizeLinear": _dequantized,
    "Clip": _clipped,
}


def _extreme(node: ir.Node, found: Extents, large: set[ir.Value], limit: float) -> Range | None:
    """The range that a huge constant brings into the node's outputs."""
    for value in node.inputs:
        if value is None or (extent := found.get(value)) is None or magnitude(extent) <= limit:
            continue
        constant = value.is_initializer() and node.op_type in _CARRIES | {"Mul"}
        if constant or (value in large and node.op_type in _CARRIES):
            return extent
    return None
