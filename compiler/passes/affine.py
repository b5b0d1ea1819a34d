"""Affine maps per channel go into the linear op before them: s (W x + b) + t is (s W) x + (s b + t)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from effc.compiler import ir
from effc.compiler.passes import bands
from effc.compiler.passes.rewrite import constant, input_at, is_float, is_private, is_row, maker, replace

Vector = NDArray[np.float64]
CONSTANT_OPS = ("Mul", "Add", "Div", "Sub", "Neg")
_LINEAR = ("Conv", "ConvTranspose", "Gemm")
_MATRIX = ("Gemm", "MatMul")


@dataclass(frozen=True)
class Affine:
    """y = scale * x + shift, each a vector over output channels or of length one."""

    scale: Vector
    shift: Vector


def batch_normalization(node: ir.Node, spread: bool = True) -> bool:
    """BatchNormalization goes into what comes before; with `spread` also where a weight of one value gets many."""
    affine = of_batch_normalization(node)
    return affine is not None and (spread or _stays_splat(node, affine)) and _absorb(node, affine, (*_LINEAR, "MatMul"))


def of_batch_normalization(node: ir.Node) -> Affine | None:
    """scale = gamma / sqrt(var + epsilon), shift = beta - mean * scale, in inference mode."""
    if ir.attr_int(node, "training_mode", 0) or any(out.uses() for out in node.outputs[1:]):
        return None
    parts = [ir.const(v) for v in node.inputs[1:5]]
    if any(part is None for part in parts):
        return None
    gamma, beta, mean, var = (np.asarray(part, np.float64) for part in parts)
    scale = gamma / np.sqrt(var + ir.attr_float(node, "epsilon", 1e-5))
    return Affine(scale, beta - mean * scale)


def constant_affine(node: ir.Node, spread: bool = True) -> bool:
    """Mul, Div, Add and Sub by a constant per channel, and Neg; `spread` as above."""
    one, zero = np.ones(1), np.zeros(1)
    if node.op_type == "Neg":
        return _absorb(node, Affine(-one, zero))
    vector = _per_channel(node)
    if vector is None:
        return False
    if node.op_type in ("Mul", "Div"):
        affine = Affine(vector if node.op_type == "Mul" else 1.0 / vector, zero)
    else:
        affine = Affine(one, vector if node.op_type == "Add" else -vector)
    return (spread or _stays_splat(node, affine)) and _absorb(node, affine)


def _stays_splat(node: ir.Node, affine: Affine) -> bool:
    """Whether no weight or bias of one value would have to hold several."""
    linear = maker(node.inputs[0], *_LINEAR, "MatMul")
    held = [] if linear is None else [a for v in linear.inputs[1:] if (a := ir.const(v)) is not None]
    even = all(np.all(part == part.flat[0]) for part in (affine.scale, affine.shift))
    return even or not any(ir.is_splat(array) for array in held)


def _per_channel(node: ir.Node) -> Vector | None:
    """The constant as a vector over axis 1, where it is one and does not widen the other operand."""
    x, array = node.inputs[0], ir.const(node.inputs[1])
    rank = len(ir.shape(x) or ())
    if array is None or rank < 2 or array.ndim > rank or array.size == 0:
        return None
    dims = (1,) * (rank - array.ndim) + array.shape
    if any(d != 1 for axis, d in enumerate(dims) if axis != 1) or (node.op_type == "Div" and not np.all(array)):
        return None
    return np.asarray(array, np.float64).ravel()


def _absorb(node: ir.Node, affine: Affine, ops: tuple[str, ...] = _LINEAR) -> bool:
    """Put the affine map into the linear op that produces the node's input, if no other node reads it.

    MatMul of matrices becomes Gemm, which has a place for what is added.
    """
    linear = maker(node.inputs[0], *ops)
    if linear is None or not is_private(linear.outputs[0]) or not is_float(node.outputs[0]):
        return False
    weight, old_bias = ir.const(linear.inputs[1]), input_at(linear, 2)
    bias = None if old_bias is None else ir.const(old_bias)
    if weight is None or (old_bias is not None and bias is None) or not _is_sound(node, weight, affine):
        return False
    if linear.op_type == "MatMul" and (weight.ndim != 2 or ir.rank(linear.inputs[0]) != 2):
        return False
    op = "Gemm" if linear.op_type in _MATRIX else linear.op_type
    channels = _channels(linear, weight)
    if affine.scale.size not in (1, channels) or affine.shift.size not in (1, channels):
        return False
    base = _bias(linear, bias, channels)
    scaled = _scaled(linear, weight, np.broadcast_to(affine.scale, channels))
    shifted = None if base is None else _rounded(base * affine.scale + affine.shift, weight)
    if shifted is None or not bands.is_finite(ir.distinct(scaled)) or not bands.is_finite(shifted):
        return False
    new_weight = linear.inputs[1]
    if not np.all(affine.scale == 1.0):
        new_weight = constant(node, "weight", scaled)
    attributes = {**linear.attributes, **({"beta": 1.0} if op == "Gemm" else {})}
    if ir.is_splat(weight) and np.all(shifted == shifted[0]):
        shifted = ir.splat(shifted[0], shifted.shape)
    inputs = [linear.inputs[0], new_weight, constant(node, "bias", shifted)]
    return replace(node, op, inputs, attributes)


def _is_sound(node: ir.Node, weight: ir.Array, affine: Affine) -> bool:
    """Whether the scale is finite and, as a factor of the graph, so moderate that its place does not matter."""
    moderate = node.op_type not in ("Mul", "Div") or bands.is_tame(weight.dtype, affine.scale)
    return moderate and bool(np.isfinite(affine.scale).all())


def _rounded(numbers: Vector, weight: ir.Array) -> ir.Array:
    with np.errstate(over="ignore"):
        return numbers.astype(weight.dtype)


def _channels(linear: ir.Node, weight: ir.Array) -> int:
    if linear.op_type in _MATRIX:
        return int(weight.shape[0 if ir.attr_int(linear, "transB", 0) else 1])
    return int(weight.shape[0] if linear.op_type == "Conv" else weight.shape[1] * ir.attr_int(linear, "group", 1))


def _bias(linear: ir.Node, bias: ir.Array | None, channels: int) -> Vector | None:
    """The bias over channels; None where it varies along another axis (Gemm with a matrix for C)."""
    if bias is None:
        return np.zeros(channels)
    if not is_row(bias, channels):
        return None
    factor = ir.attr_float(linear, "beta", 1.0) if linear.op_type == "Gemm" else 1.0
    return np.broadcast_to(np.asarray(bias, np.float64).ravel() * factor, channels)


def _scaled(linear: ir.Node, weight: ir.Array, scale: Vector) -> ir.Array:
    """The weight times `scale` along its output channel axis."""
    if linear.op_type in _MATRIX:
        return _product(weight, scale[:, None] if ir.attr_int(linear, "transB", 0) else scale[None, :])
    if linear.op_type == "Conv":
        return _product(weight, scale.reshape(-1, *(1,) * (weight.ndim - 1)))
    group = ir.attr_int(linear, "group", 1)
    grouped = weight.reshape(group, -1, *weight.shape[1:])
    return _product(grouped, scale.reshape(group, 1, -1, *(1,) * (weight.ndim - 2))).reshape(weight.shape)


def _product(weight: ir.Array, scale: Vector) -> ir.Array:
    """The product in float64, rounded to the weight's type block by block: nothing of its size lies between."""
    if ir.is_splat(weight) and np.all(scale == scale.flat[0]):
        return ir.splat(np.multiply(weight.flat[0], scale.flat[0], dtype=np.float64).astype(weight.dtype), weight.shape)
    with np.errstate(over="ignore"):
        return np.multiply(weight, scale, out=np.empty_like(weight), dtype=np.float64, casting="same_kind")
