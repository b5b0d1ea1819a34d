"""Pools: MAX_POOL_2D, AVERAGE_POOL_2D, and the int8 average as a depthwise convolution, which is delegated."""

from __future__ import annotations

import numpy as np

from effc.backends.tflite.emitter import Call
from effc.backends.tflite.ops.conv import INT8_VERSION
from effc.backends.tflite.ops.table import FIX, TABLE, needs_float, needs_rank, needs_static, undelegated
from effc.backends.tflite.ops.windows import Window, padded
from effc.backends.tflite.writer import Quant
from effc.compiler import ir
from effc.compiler.lowering import Why


def _check(node: ir.Node) -> Why | None:
    if any(d != 1 for d in ir.attr_ints(node, "dilations", (1, 1))):
        return Why("TFLite's pools have no dilation")
    if len(node.outputs) > 1:
        return Why("TFLite's MAX_POOL_2D gives no indices", "compute them apart")
    return needs_float(node) or needs_rank(node, 4) or needs_static(node) or _beyond(node)


def _beyond(node: ir.Node) -> Why | None:
    """ONNX's shapes with `ceil_mode` may count a last window that starts behind the input, which holds nothing."""
    dims, out = ir.static_shape_from(node.inputs[0], 2), ir.static_shape_from(node.outputs[0], 2)
    if dims is None or out is None:
        return Why("the size of its output is not known", FIX)
    window = Window.of(node, ir.attr_ints(node, "kernel_shape", (1, 1)))
    last = [(out[axis] - 1) * window.strides[axis] - window.before[axis] for axis in (0, 1)]
    behind = any(a >= d for a, d in zip(last, dims, strict=True))
    return Why("its last window lies behind its input", "export it without ceil_mode") if behind else None


def _window(call: Call) -> Window:
    window = Window.of(call.node, ir.attr_ints(call.node, "kernel_shape", (1, 1)))
    return window.fitted(call.dims()[1:3], call.out_dims()[1:3])


def _strides(call: Call, window: Window, padding: str) -> dict[str, object]:
    return {
        "padding": call.writer.enum("Padding", padding),
        "strideH": window.strides[0],
        "strideW": window.strides[1],
        "fusedActivationFunction": call.fused(),
    }


def _filter(window: Window) -> dict[str, object]:
    return {"filterHeight": window.kernel[0], "filterWidth": window.kernel[1]}


def _slow_max_pool(node: ir.Node) -> Why | None:
    """Explicit padding that is not SAME is an operator of its own, filled with the lowest value."""
    dims, out = ir.static_shape_from(node.inputs[0], 2), ir.static_shape_from(node.outputs[0], 2)
    if dims is None or out is None:
        return None
    window = Window.of(node, ir.attr_ints(node, "kernel_shape", (1, 1))).fitted(dims, out)
    return undelegated("its padding, an operator of its own") if window.padding(dims) is None else None


@TABLE.op("MaxPool", check=_check, slow=_slow_max_pool)
def max_pool(call: Call) -> None:
    """The largest of each window; padding never wins, so that an own one is filled with the lowest value."""
    window = _window(call)
    if window.padding(call.dims()[1:3]) == "SAME":
        source, padding = call.x(), "SAME"
    else:
        source, padding = padded(call, window, fill=float(np.finfo(np.float32).min))
    fields = _strides(call, window, padding) | _filter(window)
    call.emit("MAX_POOL_2D", (source,), "Pool2D", 2 if call.integer else 1, **fields)


@TABLE.op("AveragePool", check=_check)
def average_pool(call: Call) -> None:
    """The mean of each window. Legalization has left no padding but, in float, an uncounted one like SAME."""
    window = _window(call)
    padding = window.padding(call.dims()[1:3])
    if padding is None:
        raise NotImplementedError("legalization writes other paddings out")
    fields = _strides(call, window, padding)
    if call.integer:
        _depthwise_average(call, window, fields)
    else:
        call.emit("AVERAGE_POOL_2D", (call.x(),), "Pool2D", 1, **fields, **_filter(window))


def _depthwise_average(call: Call, window: Window, fields: dict[str, object]) -> None:
    """mean = DEPTHWISE_CONV_2D with weights 1 / k, held as 127 with scale 1 / (127 k)."""
    channels, size = call.dims()[3], window.kernel[0] * window.kernel[1]
    scale, source = 1.0 / (127 * size), call.quant()
    zeros = (0,) * channels
    ones = np.full((1, *window.kernel, channels), 127, np.int8)
    weight = call.put("ones", ones, Quant((scale,) * channels, zeros, 3))
    bias_scale = float(np.float32(source.scales[0]) * np.float32(scale)) if source else 1.0
    bias = call.put("bias", np.zeros(channels, np.int32), Quant((bias_scale,) * channels, zeros))
    fields |= {"depthMultiplier": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    call.emit("DEPTHWISE_CONV_2D", (call.x(), weight, bias), "DepthwiseConv2D", INT8_VERSION, **fields)
