"""What stands around a normalization goes into it: factors, biases, casts, and the channels' division into groups."""

from __future__ import annotations

import math

import numpy as np

from effc.compiler import ir
from effc.compiler.passes.compose.dims import fill_alike
from effc.compiler.passes.compose.vectors import Held, over_channels, over_last
from effc.compiler.passes.polynomials import widens
from effc.compiler.passes.rewrite import constant, each, input_at, is_private, maker, replace
from effc.compiler.phase import Step

_OVER_LAST = ("LayerNormalization", "RMSNormalization")
_OVER_CHANNELS = ("InstanceNormalization", "GroupNormalization")
_NARROW = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def affine(node: ir.Node) -> bool:
    """(scale n + shift) c + d is (scale c) n + (shift c + d): Mul and Add by constants go into a normalization."""
    norm, array = maker(node.inputs[0], *_OVER_LAST, *_OVER_CHANNELS), ir.const(node.inputs[1])
    if norm is None or array is None or not is_private(norm.outputs[0]) or any(v.uses() for v in norm.outputs[1:]):
        return False
    x, scale, shift = norm.inputs[0], _held(norm, 1), _held(norm, 2)
    if x is None or scale is None or (input_at(norm, 2) is not None and shift is None):
        return False
    fitted = None if widens(array.shape, x) else _fitted(norm, x, array, scale.array)
    if fitted is None or (node.op_type == "Add" and norm.op_type == "RMSNormalization"):
        return False
    other = Held(fitted, node.inputs[1] if fitted.shape == array.shape else None)
    if node.op_type == "Mul":
        scale, shift = _product(scale, other), None if shift is None else _product(shift, other)
    else:
        shift = other if shift is None else _total(shift, other)
    vectors = [("scale", scale), *([("shift", shift)] if shift is not None else [])]
    inputs: list[ir.Value | None] = [x, *(held.named(node, name, held.array) for name, held in vectors)]
    return replace(node, norm.op_type, inputs, norm.attributes)


def _held(norm: ir.Node, index: int) -> Held | None:
    value = input_at(norm, index)
    array = ir.const(value)
    return None if array is None else Held(array, value)


def _fitted(norm: ir.Node, x: ir.Value, array: ir.Array, scale: ir.Array) -> ir.Array | None:
    """The constant in the shape of the normalization's scale."""
    if norm.op_type in _OVER_CHANNELS:
        return over_channels(array, x, scale.shape)
    axis = ir.attr_int(norm, "axis", -1) % max(1, ir.rank(x))
    return over_last(array, x, axis, scale.shape) if scale.ndim == ir.rank(x) - axis else None


def _product(a: Held, b: Held) -> Held:
    return b if np.all(a.array == 1) else a if not a.array.any() else Held(np.multiply(a.array, b.array))


def _total(a: Held, b: Held) -> Held:
    return Held(np.add(a.array, b.array)) if a.array.any() else b


def uncast(node: ir.Node) -> bool:
    """Rounding a narrow x to float32, normalizing and rounding back is what a normalization of x does itself."""
    norm = maker(node.inputs[0], *_OVER_LAST)
    if norm is None or not is_private(norm.outputs[0]) or len(norm.inputs) != 2 or len(norm.outputs) != 1:
        return False
    cast, scale = maker(norm.inputs[0], "Cast"), ir.const(norm.inputs[1])
    x = None if cast is None else cast.inputs[0]
    if cast is None or x is None or scale is None or cast.outputs[0].dtype != ir.DataType.FLOAT:
        return False
    if x.dtype not in _NARROW or x.dtype != node.outputs[0].dtype or not np.all(scale == 1):
        return False
    ones = constant(node, "scale", scale.astype(ir.numpy_dtype(x)))
    return replace(node, norm.op_type, [x, ones], norm.attributes)


def groups(node: ir.Node) -> bool:
    """Reshape to groups, InstanceNormalization and Reshape back is GroupNormalization."""
    norm = maker(node.inputs[0], "InstanceNormalization")
    split = None if norm is None else maker(norm.inputs[0], "Reshape")
    if norm is None or split is None or not is_private(norm.outputs[0]) or not is_private(split.outputs[0]):
        return False
    x, scale, shift = split.inputs[0], ir.const(norm.inputs[1]), ir.const(norm.inputs[2])
    if x is None or scale is None or shift is None or not _keeps_batch(x, split.outputs[0]):
        return False
    dims, count = ir.shape(x) or (), scale.size
    if len(dims) < 2 or not fill_alike(dims, ir.shape(node.outputs[0])):
        return False
    channels = dims[1]
    if not isinstance(channels, int) or channels % count:
        return False
    each_channel = [np.repeat(vector, channels // count) for vector in (scale, shift)]
    inputs: list[ir.Value | None] = [
        x,
        *(constant(node, name, v) for name, v in zip(("scale", "shift"), each_channel, strict=True)),
    ]
    attributes = {"num_groups": count, "epsilon": ir.attr_float(norm, "epsilon", 1e-5)}
    return replace(node, "GroupNormalization", inputs, attributes)


def _keeps_batch(x: ir.Value, split: ir.Value) -> bool:
    """Whether the first dim of both is the same."""
    old, new = ir.shape(x), ir.shape(split)
    if not old or not new:
        return False
    if old[0] == new[0] and old[0] != "?":
        return True
    one, other = ir.static_shape_from(x, 1), ir.static_shape_from(split, 1)
    return one is not None and other is not None and math.prod(one) == math.prod(other)


STEPS = (
    Step("normalizations without casts", each(uncast, "Cast")),
    Step("affine maps of normalizations", each(affine, "Mul", "Add")),
    Step("group normalization", each(groups, "Reshape"), since=21),
)
