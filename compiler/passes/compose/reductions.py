"""Reductions that exporters write out, as one op: norms, logarithms of sums, softmax."""

from __future__ import annotations

import math

import numpy as np

from effc.compiler import ir
from effc.compiler.passes.compose import reduced as reductions
from effc.compiler.passes.compose.dims import expands_within, fill_alike
from effc.compiler.passes.compose.reduced import Reduced, reduced
from effc.compiler.passes.fuse import bounds
from effc.compiler.passes.polynomials import encloses
from effc.compiler.passes.rewrite import (
    constant,
    each,
    input_at,
    is_float,
    is_private,
    maker,
    replace,
    scalar,
)
from effc.compiler.phase import Step

_NESTING = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")
_LEAST_NORM = 1e-10
"""Vectors shorter than this are as good as 0, which LpNormalization leaves 0."""
_NORMS = {"ReduceL1": 1, "ReduceL2": 2}


def squared(value: ir.Value | None) -> ir.Value | None:
    """x where the value is x * x or x ** 2."""
    node = maker(value, "Mul", "Pow")
    if node is None:
        return None
    exponent = node.inputs[1]
    if node.op_type == "Mul":
        return node.inputs[0] if node.inputs[0] is exponent else None
    return node.inputs[0] if scalar(exponent) == 2.0 and ir.rank(exponent) <= ir.rank(node.inputs[0]) else None


def _as(node: ir.Node, found: Reduced, op: str, x: ir.Value | None) -> bool:
    """Let `op` of x along the same axes take the place of the node."""
    return replace(node, op, [x, *found.node.inputs[1:]], found.node.attributes)


def of_function(node: ir.Node) -> bool:
    """ReduceSum(x * x) is ReduceSumSquare(x), ReduceSum(Abs(x)) is ReduceL1(x)."""
    value, found = node.inputs[0], reductions.of(node)
    if value is None or found is None or not is_float(value) or not is_private(value):
        return False
    x, size = squared(value), maker(value, "Abs")
    if x is not None:
        return _as(node, found, "ReduceSumSquare", x)
    return size is not None and _as(node, found, "ReduceL1", size.inputs[0])


def root_of_squares(node: ir.Node) -> bool:
    """Sqrt(ReduceSumSquare(x)) is ReduceL2(x)."""
    found = reduced(node.inputs[0], "ReduceSumSquare")
    return found is not None and is_private(found.value) and _as(node, found, "ReduceL2", found.x)


def log_of_sum(node: ir.Node) -> bool:
    """Log(ReduceSum(Exp(x))) is ReduceLogSumExp(x), Log(ReduceSum(x)) is ReduceLogSum(x)."""
    found = reduced(node.inputs[0], "ReduceSum")
    if found is None or not is_private(found.value):
        return False
    exp = maker(found.x, "Exp")
    if exp is None or not is_private(found.x):
        return exp is None and _as(node, found, "ReduceLogSum", found.x)
    return _as(node, found, "ReduceLogSumExp", exp.inputs[0])


def mean(node: ir.Node) -> bool:
    """ReduceSum(x) / n is ReduceMean(x) of n elements."""
    found, factor = reduced(node.inputs[0], "ReduceSum"), ir.const(node.inputs[1])
    dims = None if found is None else ir.shape(found.x)
    if found is None or dims is None or factor is None or factor.size != 1 or not is_private(found.value):
        return False
    if factor.ndim > ir.rank(found.value) or not is_float(found.x):
        return False
    sizes = [d for axis, d in enumerate(dims) if axis in found.axes and isinstance(d, int)]
    number = float(factor.ravel()[0])
    wanted = number if node.op_type == "Div" else 1.0 / (number or math.nan)
    same = len(sizes) == len(found.axes) and math.isclose(math.prod(sizes), wanted, rel_tol=1e-5)
    return same and _as(node, found, "ReduceMean", found.x)


def nested(node: ir.Node) -> bool:
    """A reduction of a reduction by the same op is one along the axes of both."""
    outer = reductions.of(node)
    inner = None if outer is None else reduced(outer.x, node.op_type)
    if outer is None or inner is None or outer.keepdims != inner.keepdims or not is_private(inner.value):
        return False
    left = [axis for axis in range(ir.rank(inner.x)) if inner.keepdims or axis not in inner.axes]
    axes = np.array(sorted({*inner.axes, *(left[axis] for axis in outer.axes)}), np.int64)
    return replace(node, node.op_type, [inner.x, constant(node, "axes", axes)], {"keepdims": int(outer.keepdims)})


def other_dims(node: ir.Node) -> bool:
    """A reduction and a Reshape that drops the dims which it kept, or puts them back, is one that does it itself."""
    found = reduced(node.inputs[0], *reductions.OPS)
    if found is None or not is_private(found.value):
        return False
    if not fill_alike(reductions.dims_of(found, not found.keepdims), ir.shape(node.outputs[0])):
        return False
    attributes = {**found.node.attributes, "keepdims": int(not found.keepdims)}
    return replace(node, found.node.op_type, list(found.node.inputs), attributes)


# softmax


def _shifted(value: ir.Value | None, axis: int) -> tuple[ir.Value | None, tuple[ir.Node, ...]]:
    """x, and the nodes between, where the value is x - ReduceMax(x); else the value itself."""
    difference = maker(value, "Sub")
    top = None if difference is None else reduced(difference.inputs[1], "ReduceMax")
    if difference is None or top is None or top.x is not difference.inputs[0]:
        return value, ()
    return (top.x, (difference, top.node)) if axis in top.axes and top.keepdims else (value, ())


def softmax(node: ir.Node) -> bool:
    """Exp(x) / ReduceSum(Exp(x)) is Softmax(x), with or without the largest element taken off before."""
    exp, total = maker(node.inputs[0], "Exp"), reduced(node.inputs[1], "ReduceSum")
    if exp is None or total is None or total.x is not exp.outputs[0] or not total.keepdims or len(total.axes) != 1:
        return False
    x, between = _shifted(exp.inputs[0], total.axes[0])
    return encloses(node, (exp, total.node, *between)) and replace(node, "Softmax", [x], {"axis": total.axes[0]})


def softmax_of_rows(node: ir.Node) -> bool:
    """Softmax of x as a matrix of rows, given the shape of x again, is Softmax(x): so a converter writes opset 12's."""
    inner = maker(node.inputs[0], "Softmax", "LogSoftmax")
    rows = None if inner is None else maker(inner.inputs[0], "Flatten", "Reshape")
    x = None if rows is None else rows.inputs[0]
    if inner is None or rows is None or x is None or ir.attr_int(inner, "axis", -1) not in (-1, 1):
        return False
    shape, axis = maker(node.inputs[1], "Shape"), _axis_of_rows(x, rows.outputs[0])
    back = fill_alike(ir.shape(x), ir.shape(node.outputs[0])) or (
        shape is not None and shape.inputs[0] is x and not shape.attributes
    )
    if not back or axis is None:
        return False
    return encloses(node, (inner, rows)) and replace(node, inner.op_type, [x], {"axis": axis})


def _axis_of_rows(x: ir.Value, rows: ir.Value) -> int | None:
    """The axis of x that the rows of a matrix are, behind which x has but ones; None where there is none."""
    dims, matrix = ir.shape(x) or (), ir.shape(rows) or ()
    axis = max((index for index, dim in enumerate(dims) if dim != 1), default=None)
    return axis if axis is not None and len(matrix) == 2 and "?" != matrix[1] == dims[axis] else None


def log_softmax(node: ir.Node) -> bool:
    """Log(Softmax(x)) is LogSoftmax(x)."""
    inner = maker(node.inputs[0], "Softmax")
    if inner is None or not is_private(inner.outputs[0]):
        return False
    return replace(node, "LogSoftmax", list(inner.inputs), inner.attributes)


def log_softmax_by_sum(node: ir.Node) -> bool:
    """x - ReduceLogSumExp(x) is LogSoftmax(x)."""
    total = reduced(node.inputs[1], "ReduceLogSumExp")
    if total is None or total.x is not node.inputs[0] or not total.keepdims or len(total.axes) != 1:
        return False
    x, between = _shifted(total.x, total.axes[0])
    return encloses(node, (total.node, *between)) and replace(node, "LogSoftmax", [x], {"axis": total.axes[0]})


# vectors of length one


def normalized(node: ir.Node) -> bool:
    """x / Max(ReduceL2(x), tiny) is LpNormalization(x), and so is ReduceL1 with p = 1."""
    expand = maker(node.inputs[1], "Expand")
    clamp = maker(node.inputs[1] if expand is None else expand.inputs[0], "Clip", "Max")
    norm = None if clamp is None or not _is_tiny(clamp) else reduced(clamp.inputs[0], *_NORMS)
    if clamp is None or norm is None or norm.x is not node.inputs[0] or not norm.keepdims or len(norm.axes) != 1:
        return False
    if norm.x.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        return False
    if expand is not None and not expands_within(expand, norm.x):
        return False
    inner = [made for made in (expand, clamp, norm.node) if made is not None]
    attributes = {"axis": norm.axes[0], "p": _NORMS[norm.node.op_type]}
    return encloses(node, inner) and replace(node, "LpNormalization", [norm.x], attributes)


def _is_tiny(clamp: ir.Node) -> bool:
    least, most = bounds(clamp) or (None, None)
    if clamp.op_type == "Max" and len(clamp.inputs) == 2:
        least, most = scalar(input_at(clamp, 1)), math.inf
    return least is not None and 0.0 < least <= _LEAST_NORM and most == math.inf


STEPS = (
    Step("mean", each(mean, "Mul", "Div")),
    Step("reductions of functions", each(of_function, "ReduceSum")),
    Step("root of squares", each(root_of_squares, "Sqrt")),
    Step("softmax", each(softmax, "Div"), since=13),
    Step("softmax of rows", each(softmax_of_rows, "Reshape")),
    Step("log of sum", each(log_of_sum, "Log")),
    Step("log softmax", each(log_softmax, "Log")),
    Step("log softmax by sum", each(log_softmax_by_sum, "Sub"), since=13),
    Step("nested reductions", each(nested, *_NESTING)),
    Step("reductions and their dims", each(other_dims, "Reshape")),
    Step("unit vectors", each(normalized, "Div")),
)
