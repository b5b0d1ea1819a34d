"""Normalizations written as means, differences and quotients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from effc.compiler import ir
from effc.compiler.edit import Before
from effc.compiler.passes.rewrite import input_at

_ROUNDED = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_LEAST_DEVIATION = 1e-9
"""What the standard adds to the deviation in MeanVarianceNormalization."""


def layer_norm(node: ir.Node) -> bool:
    """LayerNormalization(x) is (x - mean) / sqrt(variance + epsilon) * scale + bias over the axes from `axis` on."""
    if node.op_type != "LayerNormalization" or not _is_rounded(node):
        return False
    before, rank = Before(node), ir.rank(node.inputs[0])
    x = _stashed(before)
    centred = _Centred.of(before, x, range(ir.attr_int(node, "axis", -1) % rank, rank))
    deviation = centred.deviation(ir.attr_float(node, "epsilon", 1e-5))
    _hand_over(node, 1, lambda: centred.mean)
    _hand_over(node, 2, lambda: before.op("Reciprocal", deviation))
    normal = _restored(before, before.exact("Div", centred.value, deviation))
    return before.replace(_affine(before, normal, node.inputs[1], input_at(node, 2)))


def layer_norm_moments(node: ir.Node) -> bool:
    """A LayerNormalization whose mean or 1 / deviation is used is written out, others stay."""
    return any(v.uses() or v.is_graph_output() for v in node.outputs[1:]) and layer_norm(node)


def instance_norm(node: ir.Node) -> bool:
    """InstanceNormalization(x) is (x - mean) / sqrt(variance + epsilon) * scale + bias over each channel's pixels."""
    if node.op_type != "InstanceNormalization" or not _is_rounded(node):
        return False
    before, x = Before(node), node.inputs[0]
    centred = _Centred.of(before, x, range(2, ir.rank(x)))
    normal = before.exact("Div", centred.value, centred.deviation(ir.attr_float(node, "epsilon", 1e-5)))
    return before.replace(_of_channels(before, normal))


def group_norm(node: ir.Node) -> bool:
    """GroupNormalization(x) normalizes each group's rows of (n, groups, -1), and scales and shifts each channel."""
    if node.op_type != "GroupNormalization" or not _is_rounded(node):
        return False
    before, x = Before(node), node.inputs[0]
    rows = before.const("rows", np.asarray([0, ir.attr_int(node, "num_groups", 1), -1], np.int64))
    centred = _Centred.of(before, before.op("Reshape", _stashed(before), rows), (2,))
    normal = before.exact("Div", centred.value, centred.deviation(ir.attr_float(node, "epsilon", 1e-5)))
    return before.replace(_of_channels(before, _restored(before, before.exact("Reshape", normal, _dims(before, x)))))


def mean_variance(node: ir.Node) -> bool:
    """MeanVarianceNormalization(x) is (x - mean) / (sqrt(variance) + 1e-9) over the axes 0, 2, 3 if none are given."""
    if node.op_type != "MeanVarianceNormalization" or not _is_rounded(node):
        return False
    before = Before(node)
    centred = _Centred.of(before, node.inputs[0], ir.attr_ints(node, "axes", (0, 2, 3)))
    least = before.scalar("least", _LEAST_DEVIATION)
    return before.replace(before.op("Div", centred.value, before.exact("Add", centred.deviation(0.0), least)))


def lp_norm(node: ir.Node) -> bool:
    """LpNormalization(x) is x / max(norm of x along the axis, the least positive number)."""
    if node.op_type != "LpNormalization" or not _is_rounded(node):
        return False
    before, kind = Before(node), ir.numpy_dtype(node.outputs[0])
    axes = before.const("axes", np.asarray([ir.attr_int(node, "axis", -1)], np.int64))
    norm = before.exact(f"ReduceL{ir.attr_int(node, 'p', 2)}", node.inputs[0], axes, keepdims=1)
    least = before.scalar("least", float(ml_dtypes.finfo(kind).tiny))  # type: ignore[no-untyped-call]
    return before.replace(before.op("Div", node.inputs[0], before.exact("Max", norm, least)))


@dataclass(frozen=True)
class _Centred:
    """x less its mean over some axes."""

    before: Before
    axes: ir.Value
    mean: ir.Value
    value: ir.Value

    @classmethod
    def of(cls, before: Before, x: ir.Value | None, axes: Iterable[int]) -> _Centred:
        over = before.const("axes", np.asarray(tuple(axes), np.int64))
        mean = before.exact("ReduceMean", x, over, keepdims=1)
        return cls(before, over, mean, before.exact("Sub", x, mean))

    def deviation(self, epsilon: float) -> ir.Value:
        """sqrt(variance + epsilon)."""
        square = self.before.exact("Mul", self.value, self.value)
        variance = self.before.exact("ReduceMean", square, self.axes, keepdims=1)
        if epsilon:
            variance = self.before.exact("Add", variance, self.before.scalar("epsilon", epsilon, like=self.mean))
        return self.before.exact("Sqrt", variance)


def _is_rounded(node: ir.Node) -> bool:
    """Whether float32 holds what the node reads, and its rank is known."""
    x = node.inputs[0]
    return x is not None and x.dtype in _ROUNDED and ir.rank(x) > 0


def _stashed(before: Before) -> ir.Value | None:
    """x in the type that the node computes statistics in."""
    x, stash = before.node.inputs[0], ir.attr_int(before.node, "stash_type", 1)
    return x if x is None or int(x.dtype or 0) == stash else before.cast(x, ir.DataType(stash))


def _restored(before: Before, value: ir.Value) -> ir.Value:
    """The value in the type of x."""
    kind = before.node.outputs[0].dtype
    return value if kind is None or value.dtype == kind else before.cast(value, kind)


def _hand_over(node: ir.Node, position: int, made: Callable[[], ir.Value]) -> None:
    """Let a new value take the place and name of an output behind the first, if there is one in use."""
    old = node.outputs[position] if len(node.outputs) > position else None
    if old is None or not (old.uses() or old.is_graph_output()):
        return
    new, name = made(), old.name
    ir.replace_uses(old, new)
    old.name, new.name = f"{name}__replaced", name


def _affine(before: Before, value: ir.Value, scale: ir.Value | None, bias: ir.Value | None) -> ir.Value:
    """value * scale + bias."""
    product = before.exact("Mul", value, scale)
    return product if bias is None else before.op("Add", product, bias)


def _of_channels(before: Before, value: ir.Value) -> ir.Value:
    """value * scale + bias with a number of each for every channel."""
    columns = (_column(before, given) for given in before.node.inputs[1:3])
    return _affine(before, value, *columns)


def _column(before: Before, given: ir.Value | None) -> ir.Value | None:
    """(C) as (C, 1, ..., 1), to stand beside a batch of images."""
    dims = [-1] + [1] * (ir.rank(before.node.inputs[0]) - 2)
    array = ir.const(given)
    if array is not None:
        return before.const("column", array.reshape(dims))
    return before.op("Reshape", given, before.const("column", np.asarray(dims, np.int64)))


def _dims(before: Before, x: ir.Value | None) -> ir.Value | None:
    """The dims of x, as Reshape takes them."""
    inner = ir.static_shape_from(x, 1)
    if inner is None:
        return before.op("Shape", x)
    return before.const("dims", np.asarray([0, *inner], np.int64))
