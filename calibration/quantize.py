"""Quantize: ranges and a scheme become Q/DQ nodes, so that ONNX Runtime computes what the target will."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from effc.calibration import weights
from effc.calibration.formats import element, encode
from effc.calibration.groups import assign
from effc.calibration.insert import Writer, with_axis
from effc.calibration.plan import Plan, has_weight, make_plan
from effc.calibration.scheme import QParams, Scheme
from effc.calibration.settled import is_dequantized, quantizers, scales
from effc.compiler import ir
from effc.compiler.ranges import Range


@dataclass(frozen=True)
class Layer:
    """A quantized layer whose bias may be corrected.

    Attributes:
        node: its name.
        output: the tensor right behind it, before any activation; the float model has it under the same name.
        bias: the initializer that holds the bias: int32, or float32 where `scale` is None.
        scale: the step of the int32 bias, shape [channels].
        axis: the output's channel axis.
    """

    node: str
    output: str
    bias: str
    scale: NDArray[np.float64] | None
    axis: int


@dataclass(frozen=True)
class Quantized:
    """The model with Q/DQ, and what was decided.

    Attributes:
        precision: node name (of the float model) to "int8" or "fp8", or "float32".
        qparams: tensor name (of the float model) to its parameters.
        layers: layers with a bias, in graph order.
    """

    model: ir.Model
    precision: Mapping[str, str]
    qparams: Mapping[str, QParams]
    layers: tuple[Layer, ...]


def quantize(model: ir.Model, ranges: Mapping[str, Range], scheme: Scheme, keep_float: Sequence[str] = ()) -> Quantized:
    """A new model with Q/DQ around every tensor that the scheme quantizes; `model` stays as it is.

    Args:
        ranges: by tensor name; nodes with a tensor that has none stay float.
        keep_float: globs of node names that stay float.
    """
    model = model.clone()
    plan = make_plan(model, ranges, scheme, keep_float)
    params, members = assign(plan, ranges), set(plan.nodes)
    precision = {n.name or "": scheme.precision if n in members else "float32" for n in model.graph}
    named = {v.name or "": q for v, q in params.items()}
    writer = Writer(model.graph)
    layers = [layer for node in plan.nodes if (layer := _quantize_layer(writer, plan, node, params)) is not None]
    real = _insert_pairs(writer, plan, params)
    _requantize(writer, plan, params, real)
    ir.prune(model)
    return Quantized(model, precision, named, tuple(layers))


def _insert_pairs(writer: Writer, plan: Plan, params: Mapping[ir.Value, QParams]) -> dict[ir.Value, ir.Value]:
    """Put Q/DQ behind each tensor; quantized tensors to their dequantized values."""
    members = set(plan.nodes)
    real = {value: value for value in params if is_dequantized(value)}
    for value, q in params.items():
        made = value.producer() in members
        uses = [u for u in value.uses() if u.node in members and u.idx in plan.activations(u.node)]
        if value in real or (quantizers(value) and not uses):
            continue
        if ir.const(value) is not None:
            real[value] = _constant(writer, value, q)
        else:
            pair = writer.pair(value, q, value.name or "")
            writer.after_maker(value, pair)
            real[value] = pair[1].outputs[0]
            _take_over(value, pair, made)
        for use in uses:
            use.node.replace_input_with(use.idx, real[value])
    return real


def _take_over(value: ir.Value, pair: tuple[ir.Node, ir.Node], made: bool) -> None:
    """What a quantized node made reaches every consumer dequantized, graph outputs and float nodes included."""
    if not made or quantizers(value) != [pair[0]]:
        return
    ir.replace_uses(value, pair[1].outputs[0])
    pair[0].replace_input_with(0, value)


def _constant(writer: Writer, value: ir.Value, q: QParams) -> ir.Value:
    """A constant operand as integers with their DequantizeLinear."""
    held = encode(np.asarray(ir.const(value), np.float64) / q.scale, q.zero_point, q.dtype)
    scale, zero = np.array(q.scale, np.float32), np.array(q.zero_point, element(q.dtype))
    node, _ = writer.dequantized(value.name or "constant", held, scale, zero)
    writer.before(writer.graph[0], [node])
    return node.outputs[0]


def _requantize(
    writer: Writer, plan: Plan, params: Mapping[ir.Value, QParams], real: Mapping[ir.Value, ir.Value]
) -> None:
    """An extra Q/DQ where a same-scale op takes a tensor whose parameters differ from its output's."""
    back = {dequantized: value for value, dequantized in real.items()}
    for node in plan.nodes:
        if node.op_type not in plan.scheme.same_scale:
            continue
        wanted = next((params[v] for v in node.outputs if v in params), None)
        for position in plan.activations(node):
            value = node.inputs[position]
            if value is None or wanted is None or value not in back or params[back[value]] == wanted:
                continue
            pair = writer.pair(value, wanted, f"{value.name}_for_{node.name}")
            writer.before(node, pair)
            node.replace_input_with(position, pair[1].outputs[0])


def _quantize_layer(writer: Writer, plan: Plan, node: ir.Node, params: Mapping[ir.Value, QParams]) -> Layer | None:
    """Quantize the node's constant weight and bias; the layer where it has a bias."""
    rule = plan.rule(node)
    if rule.weight is None or not has_weight(node, rule):
        return None
    source = node.inputs[plan.activations(node)[0]]
    assert source is not None
    step = params[source].scale
    bias = _bias(node, rule.bias)
    weight_scales = _quantize_weight(writer, node, plan, (bias, step))
    if rule.bias is None or bias is None:
        return None
    return _quantize_bias(writer, plan, node, (bias, step * weight_scales))


def _bias(node: ir.Node, position: int | None) -> NDArray[np.float64] | None:
    """The constant bias as a vector, zeros where there is none; None where it is computed."""
    if position is None:
        return None
    value = node.inputs[position] if position < len(node.inputs) else None
    if value is None:
        return np.zeros(1)
    array = ir.const(value)
    return None if array is None else np.asarray(array, np.float64).reshape(-1)


def _quantize_weight(
    writer: Writer, node: ir.Node, plan: Plan, layer: tuple[NDArray[np.float64] | None, float]
) -> NDArray[np.float64]:
    """Replace the weight by 8-bit elements and DequantizeLinear; its scales, shape [channels] or [1]."""
    rule, (bias, step), kind = plan.rule(node), layer, plan.scheme.weight
    value = node.inputs[rule.weight or 0]
    assert value is not None
    array = ir.const(value)
    if array is None:
        found = scales(value)
        return np.ones(1) if found is None else found.reshape(-1)
    axis = rule.weight_axis(node) if rule.weight_axis else None
    rows = weights.channels_first(array, axis)
    scale = weights.mse_scales(rows, kind)
    if bias is not None and plan.scheme.bias == "int32":
        scale = weights.fit_bias(scale, bias, step)
    held = weights.restore(weights.quantize_rows(rows, scale, kind), array.shape, axis)
    shaped = scale.astype(np.float32) if axis is not None else np.array(scale[0], np.float32)
    made, _ = writer.dequantized(value.name or "weight", held, shaped, np.zeros(shaped.shape, held.dtype))
    writer.before(node, [with_axis(made, axis)])
    node.replace_input_with(rule.weight or 0, made.outputs[0])
    return scale


def _quantize_bias(
    writer: Writer, plan: Plan, node: ir.Node, layer: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> Layer:
    """Replace the bias by int32 and DequantizeLinear, or by a float vector where the scheme wants floats."""
    position, (bias, scale) = plan.rule(node).bias or 0, layer
    channels = _channels(node, plan, scale)
    bias = np.ascontiguousarray(np.broadcast_to(bias, (channels,)))
    name, output = node.name or "", node.outputs[0].name or ""
    axis = -1 if node.op_type in ("Gemm", "MatMul") else 1
    stem = f"{node.outputs[0].name}_bias"
    if plan.scheme.bias == "float":
        value = writer.constant(stem, bias.astype(np.float32))
        _set_input(node, position, value)
        return Layer(name, output, value.name or "", None, axis)
    integers = weights.quantize_bias(bias, scale)
    step = scale.astype(np.float32) if len(scale) > 1 else np.array(scale[0], np.float32)
    made, held = writer.dequantized(stem, integers, step, np.zeros(step.shape, np.int32))
    writer.before(node, [with_axis(made, 0 if step.ndim else None)])
    _set_input(node, position, made.outputs[0])
    return Layer(name, output, held.name or "", np.broadcast_to(scale, (channels,)), axis)


def _channels(node: ir.Node, plan: Plan, scale: NDArray[np.float64]) -> int:
    """Output channels: those of the weight."""
    if len(scale) > 1:
        return len(scale)
    shape = ir.shape(node.outputs[0]) or (1, 1)
    channels = shape[-1 if node.op_type in ("Gemm", "MatMul") else 1]
    return channels if isinstance(channels, int) else 1


def _set_input(node: ir.Node, position: int, value: ir.Value) -> None:
    if position >= len(node.inputs):
        node.resize_inputs(position + 1)
    node.replace_input_with(position, value)
