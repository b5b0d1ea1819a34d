"""Constant factors go into weights on either side: W (s x) is (W s) x, s (x W + b) is x (W s) + s b."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from effc.compiler import ir
from effc.compiler.passes import bands
from effc.compiler.passes.affine import of_batch_normalization
from effc.compiler.passes.rewrite import constant, each, input_at, is_float, is_private, maker, replace
from effc.compiler.passes.windows import window
from effc.compiler.phase import Step

Vector = NDArray[np.float64]
_SMALL_BYTES = 4096


def along(node: ir.Node, axis: int) -> Vector | None:
    """The factor that a Mul or Div puts on each entry of an axis of its first operand, or one for all."""
    x, array = node.inputs[0], ir.const(node.inputs[1])
    rank = ir.rank(x)
    if array is None or rank < 2 or array.ndim > rank or not array.size or ir.is_splat(array):
        return None
    dims = (1,) * (rank - array.ndim) + array.shape
    if any(d != 1 for a, d in enumerate(dims) if a != axis % rank) or (node.op_type == "Div" and not np.all(array)):
        return None
    vector = np.asarray(array, np.float64).ravel()
    return vector if node.op_type == "Mul" else 1.0 / vector


def into_next(node: ir.Node) -> bool:
    """Conv, Gemm and MatMul of s x, s a factor for each input channel, scale their weights instead."""
    before, weight = maker(node.inputs[0], "Mul", "Div"), _own(node.inputs[1])
    if before is None or weight is None or not is_private(before.outputs[0]) or not is_float(before.outputs[0]):
        return False
    if (node.op_type == "MatMul" and weight.ndim != 2) or ir.attr_int(node, "transA", 0):
        return False
    factor = along(before, 1 if node.op_type == "Conv" else -1)
    if factor is None or not np.isfinite(factor).all() or ir.rank(before.inputs[0]) != ir.rank(before.outputs[0]):
        return False
    scaled = _on_inputs(node, weight, factor)
    if scaled is None or not bands.is_tame(weight.dtype, factor) or not bands.is_finite(scaled):
        return False
    return replace(
        node, node.op_type, [before.inputs[0], constant(node, "weight", scaled), *node.inputs[2:]], node.attributes
    )


def _own(value: ir.Value | None) -> ir.Array | None:
    """A constant that a scaled copy may take the place of: no other node reads it, or it is small."""
    array = ir.const(value)
    if array is None or value is None or ir.is_splat(array):
        return None
    return array if len(value.uses()) == 1 or array.nbytes <= _SMALL_BYTES else None


def _on_inputs(node: ir.Node, weight: ir.Array, factor: Vector) -> ir.Array | None:
    """The weight times a factor for each input channel; None where their numbers differ."""
    if node.op_type != "Conv":
        rows = not ir.attr_int(node, "transB", 0)
        size = weight.shape[0 if rows else 1]
        return _times(weight, factor.reshape(-1, 1) if rows else factor) if factor.size in (1, size) else None
    group = ir.attr_int(node, "group", 1)
    if factor.size not in (1, weight.shape[1] * group):
        return None
    spatial = (1,) * (weight.ndim - 2)
    each_group = np.broadcast_to(factor, weight.shape[1] * group).reshape(group, 1, -1, *spatial)
    return _times(weight.reshape(group, -1, *weight.shape[1:]), each_group).reshape(weight.shape)


def _times(weight: ir.Array, factor: Vector) -> ir.Array:
    with np.errstate(over="ignore"):
        return np.multiply(weight, factor, out=np.empty_like(weight), dtype=np.float64, casting="same_kind")


def into_product(node: ir.Node) -> bool:
    """(x W + b) s is x (W s) + b s for s per column, with or without b."""
    factor, total = along(node, -1), maker(node.inputs[0], "Add")
    product = maker(node.inputs[0] if total is None else total.inputs[0], "MatMul")
    if factor is None or product is None or not is_private(product.outputs[0]) or not np.isfinite(factor).all():
        return False
    weight = _own(product.inputs[1])
    bias = None if total is None else _own(total.inputs[1])
    if weight is None or weight.ndim != 2 or not is_float(node.outputs[0]) or factor.size not in (1, weight.shape[1]):
        return False
    if not bands.is_tame(weight.dtype, factor):
        return False
    if total is None:
        return replace(node, "MatMul", [product.inputs[0], constant(node, "weight", _times(weight, factor))])
    if bias is None or bias.ndim != 1 or not is_private(total.outputs[0]) or bias.size != weight.shape[1]:
        return False
    scaled = constant(node, "weight", _times(weight, factor)), constant(node, "bias", _times(bias, factor))
    product.replace_input_with(1, scaled[0])
    _rename(product)
    return replace(node, "Add", [product.outputs[0], scaled[1]])


def _rename(node: ir.Node) -> None:
    """A tensor with other values gets another name."""
    value = node.outputs[0]
    if isinstance(node.graph, ir.Graph):
        value.name = ir.fresh_name(node.graph, f"{value.name}_scaled")


def normalization_into_next(node: ir.Node) -> bool:
    """Conv(BatchNormalization(x)) is Conv(x) with scaled weights and W t on the bias, where it pads nothing."""
    before, weight, found = maker(node.inputs[0], "BatchNormalization"), _own(node.inputs[1]), window(node)
    bias_value = input_at(node, 2)
    bias = None if bias_value is None else ir.const(bias_value)
    if before is None or weight is None or found is None or (bias_value is not None and bias is None):
        return False
    affine = of_batch_normalization(before)
    if affine is None or not is_private(before.outputs[0]) or (any(found.pads) and affine.shift.any()):
        return False
    group = ir.attr_int(node, "group", 1)
    scaled = _on_inputs(node, weight, affine.scale)
    if scaled is None or affine.shift.size != weight.shape[1] * group or not np.isfinite(affine.scale).all():
        return False
    taps = np.asarray(weight, np.float64).reshape(group, -1, weight.shape[1], int(np.prod(weight.shape[2:]))).sum(-1)
    moved = np.einsum("goi,gi->go", taps, affine.shift.reshape(group, -1)).ravel()
    total = (moved + (0.0 if bias is None else np.asarray(bias, np.float64))).astype(weight.dtype)
    inputs = [before.inputs[0], constant(node, "weight", scaled), constant(node, "bias", total)]
    return replace(node, "Conv", inputs, node.attributes)


# states


def zero_state(node: ir.Node) -> bool:
    """An initial state of zeros is what GRU, LSTM and RNN take where none is given."""
    zeros = [slot for slot in (5, 6) if _is_zero(input_at(node, slot))]
    for slot in zeros:
        node.replace_input_with(slot, None)
    return bool(zeros)


_KEEP_ZERO = (
    "Cast",
    "Expand",
    "Gather",
    "Identity",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
)


def _is_zero(value: ir.Value | None) -> bool:
    """Whether every element is 0, whatever the shape."""
    while (node := maker(value, *_KEEP_ZERO)) is not None:
        value = node.inputs[0]
    array, made = ir.const(value), maker(value, "ConstantOfShape")
    if made is not None:
        held = made.attributes.get("value")
        return held is None or not held.as_tensor().numpy().any()
    return array is not None and array.dtype.kind in "fiu" and array.size <= _SMALL_BYTES and not array.any()


EARLY_STEPS = (
    Step("batch normalization before", each(normalization_into_next, "Conv")),
    Step("zero states", each(zero_state, "GRU", "LSTM", "RNN")),
)
STEPS = (
    Step("factors before", each(into_next, "Conv", "Gemm", "MatMul")),
    Step("factors after products", each(into_product, "Mul", "Div")),
)
