"""Conditions on the layers with windows, recurrences and scales: convolution, pooling, Resize, RNNs, Q/DQ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from effc.backends.tensorrt.support.rules import TABLE
from effc.compiler import ir
from effc.compiler.lowering import Why
from effc.compiler.passes.rewrite import input_at

_GATES = {"LSTM": 3, "GRU": 2, "RNN": 1}
_COORDINATES = ("align_corners", "asymmetric", "half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn")
_QUANTIZED = frozenset({ir.DataType.INT8, ir.DataType.INT4, ir.DataType.FLOAT8E4M3FN})
_SIGNED = "give effc the float model, or quantize symmetrically: int8, zero point 0"


@TABLE.op("Conv", "ConvTranspose")
def convolution(node: ir.Node, library: str) -> Why | None:
    """1 to 3 spatial dims; a transposed one is strided or dilated, not both."""
    dims, weight = ir.rank(node.inputs[0]) - 2, node.inputs[1]
    if dims > 3:
        return Why(f"it has {dims} spatial dims, TensorRT at most 3")
    if ir.rank(weight) and ir.static_shape(weight) is None:
        return Why("its weights have open dims", "fix them with --shape")
    both = _any(node, "strides") and _any(node, "dilations")
    if node.op_type == "ConvTranspose" and both and library == "rtx":
        return Why("it is strided and dilated, which TensorRT-RTX does not combine")
    return None


@TABLE.op("AveragePool", "LpPool", "MaxPool")
def pooling(node: ir.Node, library: str) -> Why | None:
    """Up to 3 spatial dims, no dilation, no indices, norms 1 and 2."""
    del library
    dims, norm = ir.rank(node.inputs[0]) - 2, ir.attr_int(node, "p", 2)
    if dims > 3 or (dims == 1 and node.op_type == "LpPool"):
        return Why(f"it pools over {dims} dims, TensorRT over {'2 or 3' if node.op_type == 'LpPool' else '1 to 3'}")
    if _any(node, "dilations"):
        return Why("it is dilated", "pool without dilations")
    if any(value.name for value in node.outputs[1:]):
        return Why("its indices are an output")
    return Why(f"its norm is {norm}, TensorRT has 1 and 2") if node.op_type == "LpPool" and norm > 2 else None


@TABLE.op("GRU", "LSTM", "RNN")
def recurrent(node: ir.Node, library: str) -> Why | None:
    """Time comes first; both directions have the same activations."""
    del library
    if ir.attr_int(node, "layout", 0):
        return Why("its layout is 1, which the parser ignores", "transpose around it and use layout 0")
    if ir.attr_int(node, "input_forget", 0):
        return Why("its input and forget gates are coupled")
    found = node.attributes.get("activations")
    names = [name.lower() for name in found.as_strings()] if found else []
    count = _GATES[node.op_type]
    if "affine" in names:
        return Why("TensorRT has no Affine activation")
    if len(names) > count and names[:count] != names[count:]:
        return Why("its two directions have different activations")
    return None


@TABLE.op("Resize", "Upsample")
def resize(node: ir.Node, library: str) -> Why | None:
    """Five coordinate modes; the whole of the input; linear over 3 dims, cubic over the last 2."""
    del library
    mode = ir.attr_str(node, "mode", "nearest")
    coordinates = ir.attr_str(node, "coordinate_transformation_mode", "half_pixel")
    value = node.inputs[0]
    if value is not None and value.dtype in (ir.DataType.INT32, ir.DataType.INT64, ir.DataType.BOOL):
        return Why(f"TensorRT does not have it for {value.dtype.name.lower()}", "cast to float before it")
    if ir.attr_int(node, "antialias", 0):
        return Why("TensorRT does not antialias")
    if ir.attr_str(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return Why("TensorRT stretches alone", "give it the final sizes")
    if coordinates not in _COORDINATES:
        return Why(f"TensorRT has no coordinate mode {coordinates!r}", f"it has {', '.join(_COORDINATES)}")
    if coordinates == "tf_half_pixel_for_nn" and _rounding(node) != "round_prefer_floor":
        return Why("tf_half_pixel_for_nn goes with nearest_mode round_prefer_floor alone")
    return _scales(node, mode)


def _rounding(node: ir.Node) -> str:
    return ir.attr_str(node, "nearest_mode", "round_prefer_floor")


def _scales(node: ir.Node, mode: str) -> Why | None:
    """Scales are constant; sizes for some axes alone need the other dims fixed."""
    value, axes = input_at(node, 2), ir.attr_ints(node, "axes", ())
    if value is None or 0 in (ir.shape(value) or ()):  # without elements is left out too
        open_dims = bool(axes) and ir.static_shape(node.inputs[0]) is None
        return Why("its sizes are for some axes alone, and other dims are open", "give scales") if open_dims else None
    scales = ir.const(value)
    if scales is None:
        return Why("its scales must be constant", "or give it sizes")
    full = [1.0] * ir.rank(node.inputs[0])
    for axis, scale in zip(axes or range(len(full)), scales.ravel().tolist(), strict=False):
        full[axis] = scale
    return _spatial(mode, full)


def _spatial(mode: str, scales: Sequence[float]) -> Why | None:
    limit = {"linear": 3, "cubic": 2}.get(mode)
    if limit is None or all(scale == 1 for scale in scales[:-limit]):
        return None
    return Why(f"{mode} resizing goes over the last {limit} dims alone")


@TABLE.op("QuantizeLinear")
def quantize(node: ir.Node, library: str) -> Why | None:
    """Symmetric, into int8, int4 or float8."""
    del library
    value, kind = node.inputs[0], node.outputs[0].dtype
    if value is not None and value.dtype is not None and not value.dtype.is_floating_point():
        return Why(f"it quantizes {value.dtype.name.lower()}, TensorRT floats alone")
    if kind is not None and kind not in _QUANTIZED:
        return Why(f"it quantizes to {kind.name.lower()}, TensorRT to int8", _SIGNED)
    return _zero_point(node)


@TABLE.op("DequantizeLinear")
def dequantize(node: ir.Node, library: str) -> Why | None:
    """Symmetric, from int8, int4 or float8."""
    del library
    value = node.inputs[0]
    if value is not None and value.dtype == ir.DataType.INT32:
        return Why(f"{value.name!r} is an int32 bias", "give effc the float model, or keep the bias in float")
    if value is not None and value.dtype is not None and value.dtype not in _QUANTIZED:
        return Why(f"it dequantizes {value.dtype.name.lower()}, TensorRT int8", _SIGNED)
    return _zero_point(node)


def _zero_point(node: ir.Node) -> Why | None:
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return None
    zero = ir.const(value)
    if zero is None:
        return Why("its zero point must be constant", _SIGNED)
    return Why("its zero point is not 0", _SIGNED) if np.asarray(zero, np.float32).any() else None


def _any(node: ir.Node, name: str) -> bool:
    """Whether one of the attribute's numbers is above 1."""
    return any(number > 1 for number in ir.attr_ints(node, name, ()))
