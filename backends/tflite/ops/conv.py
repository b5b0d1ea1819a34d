"""Convolutions: CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from effc.backends.tflite.emitter import Call, Constant
from effc.backends.tflite.ops.table import (
    FIX,
    TABLE,
    needs_constant,
    needs_float,
    needs_rank,
    needs_static,
    undelegated,
)
from effc.backends.tflite.ops.windows import Window, padded
from effc.backends.tflite.writer import Array, Quant
from effc.compiler import ir
from effc.compiler.lowering import Why

INT8_VERSION = 3


def _check(node: ir.Node) -> Why | None:
    return needs_float(node) or needs_rank(node, 4) or needs_static(node) or needs_constant(node, 1, 2)


@TABLE.op("Conv", check=_check)
def conv(call: Call) -> None:
    """y = W * x + b over NHWC; W from (O, I/g, kh, kw) to (O, kh, kw, I/g), or (1, kh, kw, O) where depthwise."""
    weight = call.constant(1)
    window = Window.of(call.node, weight.values.shape[2:]).fitted(call.dims()[1:3], call.out_dims()[1:3])
    source, padding = padded(call, window)
    group = ir.attr_int(call.node, "group", 1)
    depthwise = group > 1 and group == call.dims()[3]
    perm, axis = ((1, 2, 3, 0), 3) if depthwise else ((0, 2, 3, 1), 0)
    filters = put_weight(call, "weight", weight, perm, axis)
    fields = _fields(call, window, padding)
    version = INT8_VERSION if call.integer else 1
    operands = (source, filters, put_bias(call, 2, weight))
    if depthwise:
        multiplier = weight.values.shape[0] // group
        call.emit("DEPTHWISE_CONV_2D", operands, "DepthwiseConv2D", version, depthMultiplier=multiplier, **fields)
    else:
        call.emit("CONV_2D", operands, "Conv2D", version, **fields)


def _fields(call: Call, window: Window, padding: str) -> dict[str, object]:
    return {
        "padding": call.writer.enum("Padding", padding),
        "strideH": window.strides[0],
        "strideW": window.strides[1],
        "dilationHFactor": window.dilations[0],
        "dilationWFactor": window.dilations[1],
        "fusedActivationFunction": call.fused(),
    }


def _check_transposed(node: ir.Node) -> Why | None:
    dims = ir.shape(node.inputs[0])
    if dims is not None and not isinstance(dims[0], int):
        return Why("TRANSPOSE_CONV states its output's batch, which is symbolic here", FIX)
    if ir.attr_int(node, "group", 1) != 1:
        return Why("TRANSPOSE_CONV has no groups", "split it into one for each group")
    if any(d != 1 for d in ir.attr_ints(node, "dilations", (1, 1))):
        return Why("TRANSPOSE_CONV has no dilation")
    if "output_shape" in node.attributes:
        return Why("its output_shape reaches beyond what its windows cover")
    if any(p < o for p, o in zip(ir.attr_ints(node, "pads", (0,) * 4)[2:], _extra(node), strict=False)):
        return Why("its output_padding reaches beyond its padding")
    return _check(node)


def _extra(node: ir.Node) -> tuple[int, ...]:
    return ir.attr_ints(node, "output_padding", (0, 0))


def _slow_transposed(node: ir.Node) -> Why | None:
    return undelegated("the crop of its output, an operator of its own") if _is_cropped(node) else None


@TABLE.op("ConvTranspose", check=_check_transposed, slow=_slow_transposed)
def conv_transpose(call: Call) -> None:
    """SAME where the padding is its own, else the full n -> (n - 1) s + k and a SLICE, which is not delegated."""
    weight = call.constant(1)
    window = Window.of(call.node, weight.values.shape[2:])
    batch, height, width, channels = call.out_dims()
    same = _is_same(window, call.dims()[1:3], (height, width))
    written = (height, width) if same else _full(window, call.dims()[1:3])
    crops = written != (height, width)
    target = call.temp("full", (batch, *written, channels), call.out_quant()) if crops else call.out()
    size = call.emitter.int_vector("size", (batch, *written, channels))
    options = call.writer.options(
        "TransposeConv",
        padding=call.writer.enum("Padding", "SAME" if same else "VALID"),
        strideH=window.strides[0],
        strideW=window.strides[1],
        fusedActivationFunction=call.fused(),
    )
    operands = (size, put_weight(call, "weight", weight, (1, 2, 3, 0), 0), call.x(), put_bias(call, 2, weight))
    call.writer.op("TRANSPOSE_CONV", operands, (target,), options, 4 if call.fused() else 3)
    if crops:
        begin = call.emitter.int_vector("begin", (0, *window.before, 0))
        call.emit("SLICE", (target, begin, call.emitter.int_vector("size", (-1, height, width, channels))), "Slice")


def _is_cropped(node: ir.Node) -> bool:
    """Whether a ConvTranspose of known dims needs the SLICE."""
    dims, out = ir.static_shape_from(node.inputs[0], 2), ir.static_shape_from(node.outputs[0], 2)
    kernel = ir.static_shape_from(node.inputs[1], 2)
    if dims is None or out is None or kernel is None:
        return False
    window = Window.of(node, kernel)
    return not _is_same(window, dims, out) and _full(window, dims) != out


def _full(window: Window, inputs: Sequence[int]) -> tuple[int, ...]:
    """All that the windows cover: (n - 1) s + k."""
    return tuple((n - 1) * s + k for n, s, k in zip(inputs, window.strides, window.kernel, strict=True))


def _is_same(window: Window, inputs: Sequence[int], outputs: Sequence[int]) -> bool:
    """Whether TFLite's SAME crops as the padding does: k - s elements, half of them, rounded down, before."""
    return all(
        window.kernel[i] >= window.strides[i]
        and outputs[i] == inputs[i] * window.strides[i]
        and window.before[i] == (window.kernel[i] - window.strides[i]) // 2
        for i in (0, 1)
    )


def put_weight(call: Call, name: str, weight: Constant, perm: tuple[int, ...], axis: int) -> int:
    """Add a weight, permuted; its scales lie along `axis` of the permuted one."""
    if weight.integers is None or weight.quant is None:
        return call.put(name, np.transpose(weight.values, perm).astype(np.float32))
    return call.put(name, np.transpose(weight.integers, perm), replace(weight.quant, axis=axis))


def put_bias(call: Call, position: int, weight: Constant) -> int:
    """Add the bias, zeros where the node has none: int32 with scale(x) scale(W) in an integer call."""
    channels = 1 if weight.quant is None else len(weight.quant.scales)
    given = call.constant(position) if call.given(position) else None
    if weight.quant is None:
        size = call.out_dims()[-1]
        values: Array = np.zeros(size, np.float32) if given is None else given.values.astype(np.float32)
        return call.put("bias", np.broadcast_to(values.ravel(), (size,)))
    source = call.quant()
    scales = tuple(float(np.float32(source.scales[0]) * np.float32(s)) for s in weight.quant.scales) if source else ()
    quant = Quant(scales, (0,) * channels)
    if given is None:
        return call.put("bias", np.zeros(call.out_dims()[-1], np.int32), quant)
    if given.integers is not None and given.integers.dtype == np.int32:
        return call.put("bias", given.integers.ravel(), quant)
    return call.put("bias", np.rint(given.values.ravel() / np.asarray(scales)).astype(np.int32), quant)
