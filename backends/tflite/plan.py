"""Plan: the calls to emit. Q/DQ around a node makes it an integer call, an activation after it may be fused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from effc.backends.tflite import scheme
from effc.backends.tflite.layout import root
from effc.compiler import ir
from effc.compiler.passes.fuse import bounds
from effc.compiler.passes.rewrite import only_reader

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True)
class Planned:
    """One node to lower.

    Attributes:
        integer: it runs as an int8 kernel, reading quantized tensors and writing them.
        activation: the fused activation; "NONE" where saturation does it, None where there is none.
        outputs: the values that it makes: the activation's where one is fused, the quantized ones where integer.
        bounds: of a clamp that saturation does; the output's range may reach beyond them.
    """

    node: ir.Node
    integer: bool
    activation: str | None
    outputs: tuple[ir.Value, ...]
    bounds: tuple[float, float] | None = None


def plan(graph: ir.Graph) -> Iterator[Planned]:
    """Every node but Q/DQ and fused activations, in graph order."""
    fused: set[ir.Node] = set()
    for node in graph:
        if node.op_type in (QUANTIZE, DEQUANTIZE) or node in fused:
            continue
        follower = only_reader(node.outputs[0])
        if follower is None or not scheme.follows(node, follower):
            follower = None
        planned = _integer(node, follower) or _float(node, follower)
        if planned.activation is not None and follower is not None:
            fused.add(follower)
        yield planned


def _integer(node: ir.Node, follower: ir.Node | None) -> Planned | None:
    """The node as an int8 kernel, where Q/DQ stand around it, with a clamp that the integers' saturation does."""
    if follower is not None and not scheme.fused(node, follower):
        return None
    quantizers = [only_reader(v) for v in (follower or node).outputs]
    operands = [v for v in _data(node) if v.dtype == ir.DataType.FLOAT]
    if node.op_type not in scheme.INT8.ops or not all(is_quantized(v) for v in operands):
        return None
    if not all(q is not None and q.op_type == QUANTIZE for q in quantizers):
        return None
    made = tuple(q.outputs[0] for q in quantizers if q is not None)
    if not _admissible(node, operands, made):
        return None
    if follower is None:
        return Planned(node, True, None, made)
    return Planned(node, True, scheme.activation(follower) or "NONE", made, bounds(follower))


def _admissible(node: ir.Node, operands: list[ir.Value], made: tuple[ir.Value, ...]) -> bool:
    """Whether the kernel keeps to what the scales say: some fail, and some are silently wrong, where they differ.

    The scheme sees to it for what effc quantizes; Q/DQ that came with the model may say anything.
    """
    rule, outputs = scheme.INT8.ops[node.op_type], [_numbers(v) for v in made]
    if rule.output is not None and any(o != (rule.output.scale, rule.output.zero_point) for o in outputs):
        return False
    if rule.weight is not None:
        weight = node.inputs[rule.weight]
        return weight is not None and not quantization(_stored(weight))[1].any()
    same = node.op_type in scheme.SAME_SCALE
    return not same or len({*outputs, *(_numbers(_stored(v)) for v in operands)}) == 1


def _numbers(value: ir.Value) -> tuple[float, int]:
    """Scale and zero point of a tensor quantized as a whole."""
    scale, zero, _ = quantization(value)
    return float(scale.ravel()[0]), int(zero.ravel()[0])


def _stored(value: ir.Value) -> ir.Value:
    """The integers behind a dequantized value."""
    producer = value.producer()
    found = None if producer is None else producer.inputs[0]
    if found is None:
        raise ValueError(f"{value.name!r} is not dequantized")
    return found


def _float(node: ir.Node, follower: ir.Node | None) -> Planned:
    activation = None if follower is None else scheme.activation(follower)
    return Planned(node, False, activation, tuple((node if activation is None else follower or node).outputs))


def is_quantized(value: ir.Value) -> bool:
    """Whether the value is what a DequantizeLinear gives."""
    producer = value.producer()
    return producer is not None and producer.op_type == DEQUANTIZE


def _data(node: ir.Node) -> list[ir.Value]:
    """The operands without parameters (Clip's bounds, Pad's value, Resize's scales) and without a float bias.

    A bias that came as floats is rounded to its int32 step when it is written.
    """
    count = 1 if node.op_type in ("Clip", "Pad", "Resize") else len(node.inputs)
    rule = scheme.INT8.ops.get(node.op_type)
    bias = None if rule is None or rule.bias is None else rule.bias
    return [
        v for i, v in enumerate(node.inputs[:count]) if v is not None and not (i == bias and ir.const(v) is not None)
    ]


def foreign(node: ir.Node) -> str | None:
    """Why a Q or DQ cannot be held by an int8 tensor, None where it can (or the node is neither)."""
    if node.op_type not in (QUANTIZE, DEQUANTIZE):
        return None
    scale, held = ir.const(node.inputs[1]), node.outputs[0] if node.op_type == QUANTIZE else node.inputs[0]
    weight = ir.const(node.inputs[0]) is not None
    if scale is None or (len(node.inputs) > 2 and node.inputs[2] is not None and ir.const(node.inputs[2]) is None):
        return "its scale and zero point must be constant"
    if held is None or held.dtype not in (ir.DataType.INT8, *((ir.DataType.INT32,) if weight else ())):
        return f"TFLite's kernels take int8, not {held and held.dtype}"
    if scale.size > 1 and not weight:
        return "activations are quantized per tensor"
    return "blocked quantization is not lowered" if scale.ndim > 1 else None


def quantization(value: ir.Value) -> tuple[ir.Array, ir.Array, int]:
    """Scale, zero point and axis of a quantized value, read from the Q that made it or a DQ that reads it."""
    producer = value.producer()
    if producer is None or producer.op_type != QUANTIZE:
        producer = next(n for n in value.consumers() if n.op_type == DEQUANTIZE)
    scale, zero = ir.const(producer.inputs[1]), None
    if len(producer.inputs) > 2:
        zero = ir.const(producer.inputs[2])
    if scale is None:
        raise ValueError(f"the scale of {value.name!r} is not constant")
    zero = scale.astype("int8") * 0 if zero is None else zero
    return scale, zero, ir.attr_int(producer, "axis", 1)


def constant(value: ir.Value) -> ir.Array | None:
    """The value's data as real numbers where it is constant, seen through Q/DQ of constants."""
    base = root(value)
    data = ir.const(base)
    if data is None or base is value:
        return data
    if data.dtype.kind == "f":
        return data
    scale, zero, axis = quantization(base)
    shape = [1] * data.ndim
    if scale.ndim:
        shape[axis] = scale.size
    result: ir.Array = (data.astype("f4") - zero.astype("f4").reshape(shape)) * scale.reshape(shape)
    return result
