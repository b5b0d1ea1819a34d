"""Reductions of functions written as functions and plain sums."""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np

from effc.compiler import ir
from effc.compiler.edit import Before
from effc.compiler.passes.rewrite import input_at, is_float

_AROUND: Mapping[str, tuple[str, str]] = {
    "ReduceL1": ("Abs", ""),
    "ReduceL2": ("Mul", "Sqrt"),
    "ReduceLogSum": ("", "Log"),
    "ReduceSumSquare": ("Mul", ""),
}
"""What is done to the elements, Mul of each by itself, and to their sum."""


def reduced(node: ir.Node) -> bool:
    """ReduceL1(x) is ReduceSum(Abs(x)), ReduceL2(x) is Sqrt(ReduceSum(x x)), and so on."""
    if node.op_type not in _AROUND or not _reduces_floats(node):
        return False
    first, last = _AROUND[node.op_type]
    before, x = Before(node), node.inputs[0]
    if first:
        x = before.exact(first, x, *((x,) if first == "Mul" else ()))
    total = _over(before, "ReduceSum", x)
    return before.replace(before.op(last, total) if last else total)


def log_sum_exp(node: ir.Node) -> bool:
    """ReduceLogSumExp(x) is m + log(sum(exp(x - m))) with m the greatest x, as far as that is finite."""
    if node.op_type != "ReduceLogSumExp" or not _reduces_floats(node):
        return False
    before, x = Before(node), node.inputs[0]
    kept = _finite(before, _over(before, "ReduceMax", x, keepdims=1))
    total = _over(before, "ReduceSum", before.exact("Exp", before.exact("Sub", x, kept)))
    if not ir.attr_int(node, "keepdims", 1):
        kept = _finite(before, _over(before, "ReduceMax", x))
    return before.replace(before.op("Add", before.exact("Log", total), kept))


def global_lp_pool(node: ir.Node) -> bool:
    """GlobalLpPool(x) is the norm of each channel's pixels, for p = 1 and 2."""
    p = ir.attr_int(node, "p", 2) if node.op_type == "GlobalLpPool" else 0
    if p not in (1, 2) or ir.rank(node.inputs[0]) < 3:
        return False
    before = Before(node)
    axes = before.const("axes", np.arange(2, ir.rank(node.inputs[0]), dtype=np.int64))
    return before.replace(before.op(f"ReduceL{p}", node.inputs[0], axes, keepdims=1))


def _reduces_floats(node: ir.Node) -> bool:
    """Whether it reduces floats along some axes: without any, it might be told to leave them as they are."""
    axes = input_at(node, 1)
    idle = (axes is None or 0 in (ir.shape(axes) or ())) and ir.attr_int(node, "noop_with_empty_axes", 0)
    return is_float(node.inputs[0]) and not idle


def _over(before: Before, op: str, x: ir.Value | None, **attributes: object) -> ir.Value:
    """Another reduction along the node's axes."""
    return before.exact(op, x, *before.node.inputs[1:], **{**before.node.attributes, **attributes})


def _finite(before: Before, value: ir.Value) -> ir.Value:
    """The finite number nearest to each element."""
    largest = float(ml_dtypes.finfo(ir.numpy_dtype(value)).max)  # type: ignore[no-untyped-call]
    return before.exact("Clip", value, before.scalar("lowest", -largest), before.scalar("largest", largest))
