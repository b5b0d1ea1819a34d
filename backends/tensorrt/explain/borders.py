"""Where Q/DQ of a typed graph do not become part of a kernel, and why: read from the ONNX graph around them."""

from __future__ import annotations

from collections.abc import Iterator

from effc.backends.explanation import Unfused
from effc.backends.tensorrt.scheme import INT8, fused
from effc.compiler import ir

_PAIR = ("QuantizeLinear", "DequantizeLinear")
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def unfused(graph: ir.Graph) -> tuple[Unfused, ...]:
    """Every Q/DQ that stays a layer of its own, in graph order; and every quantized node whose weight is not."""
    return tuple(found for node in graph for found in _of(node))


def _of(node: ir.Node) -> Iterator[Unfused]:
    name = node.name or "?"
    if node.op_type == "DequantizeLinear" and (reason := _dequantize(node)):
        yield Unfused(name, reason)
    if node.op_type == "QuantizeLinear" and (reason := _quantize(node)):
        yield Unfused(name, reason)
    if node.op_type in _WEIGHTED and (reason := _weight(node)):
        yield Unfused(name, reason)
    if node.op_type == "Concat" and (reason := _concat(node)):
        yield Unfused(name, reason)


def _dequantize(node: ir.Node) -> str:
    """Why a DequantizeLinear of an activation is not taken into all that read it."""
    value = node.inputs[0]
    if value is None or ir.const(value) is not None:
        return ""
    readers = [use.node for use in node.outputs[0].uses()]
    floats = [reader for reader in readers if not narrow(reader)]
    if _per_channel(node):
        return "it has a scale for each channel; TensorRT's kernels take one for a whole activation"
    if floats and len(floats) < len(readers):
        both = f"{_named(floats[0])} reads it in float, {_named(next(r for r in readers if narrow(r)))} in 8 bits"
        return f"{both}, so it is written twice"
    if not floats:
        return "a graph output is it" if node.outputs[0].is_graph_output() else ""
    if not able(floats[0]):
        return f"{_named(floats[0])} reads it, which has no 8-bit kernel"
    return f"{_named(floats[0])} reads it and runs in float: not all of its inputs are quantized"


def _quantize(node: ir.Node) -> str:
    """Why a QuantizeLinear of an activation is not the end of the kernel that computes its input."""
    value = node.inputs[0]
    maker = None if value is None else value.producer()
    if maker is None or ir.const(value) is not None or _per_channel(node):
        return ""
    if (add := _residual(node)) is not None and maker.op_type == "Conv":
        return f"it stands between {_named(maker)} and {_named(add)}, which would be one kernel without it"
    if narrow(maker):
        return ""
    if not able(maker):
        return f"{_named(maker)} computes its input, which has no 8-bit kernel"
    return f"{_named(maker)} computes its input in float: not all of its inputs are quantized"


def able(node: ir.Node) -> bool:
    """Whether a node could run in 8 bits if all of its inputs were quantized."""
    rule = INT8.ops.get(node.op_type)
    return rule is not None and not rule.inside and INT8.accepts(node)


def narrow(node: ir.Node) -> bool:
    """Whether a node runs in 8 bits, by itself or as the end of a kernel that does."""
    if takes(node):
        return True
    makers = [None if value is None else value.producer() for value in node.inputs]
    before = [maker for maker in makers if maker is not None and maker.op_type not in _PAIR]
    beside = all(v is None or _dequantized(v) or ir.const(v) is not None for v in node.inputs if not _computed(v))
    return beside and any(fused(maker, node) and narrow(maker) for maker in before)


def _computed(value: ir.Value | None) -> bool:
    maker = None if value is None else value.producer()
    return maker is not None and maker.op_type not in _PAIR


def takes(node: ir.Node) -> bool:
    """Whether a node runs in 8 bits: an op that can, all of whose float activations come from DequantizeLinear."""
    if node.op_type in _PAIR:
        return node.op_type == "QuantizeLinear"
    if not able(node):
        return False
    count = 2 if node.op_type in _WEIGHTED else len(node.inputs)
    values = [v for v in node.inputs[:count] if v is not None and v.dtype is not None and v.dtype.is_floating_point()]
    return bool(values) and all(_dequantized(v) or (ir.const(v) is not None and count != 2) for v in values)


def _dequantized(value: ir.Value) -> bool:
    maker = value.producer()
    return maker is not None and maker.op_type == "DequantizeLinear"


def _weight(node: ir.Node) -> str:
    """Why a node whose activation is quantized computes in float."""
    data, weight = node.inputs[0], node.inputs[1]
    if data is None or weight is None or not _dequantized(data) or _dequantized(weight):
        return ""
    constant = ir.const(weight) is not None
    return "its weight is not quantized" if constant else f"its weight {weight.name!r} is computed at run time"


def _concat(node: ir.Node) -> str:
    """Inputs of different scales are each quantized anew."""
    makers = [v.producer() for v in node.inputs if v is not None]
    found = [m for m in makers if m is not None and m.op_type == "DequantizeLinear"]
    scales = {float(s.ravel()[0]) for m in found if (s := ir.const(m.inputs[1])) is not None}
    if len(scales) < 2:
        return ""
    listed = ", ".join(f"{scale:.3g}" for scale in sorted(scales))
    return f"its inputs have different scales ({listed}), so they are requantized; give them one"


def _residual(quantize: ir.Node) -> ir.Node | None:
    """The Add in float that reads a quantized value behind its DequantizeLinear."""
    for use in quantize.outputs[0].uses():
        for after in use.node.outputs[0].uses():
            if use.node.op_type == "DequantizeLinear" and after.node.op_type == "Add" and not narrow(after.node):
                return after.node
    return None


def _per_channel(node: ir.Node) -> bool:
    scale = ir.const(node.inputs[1])
    return scale is not None and scale.size > 1


def _named(node: ir.Node) -> str:
    return f"{node.op_type} {node.name!r}"
