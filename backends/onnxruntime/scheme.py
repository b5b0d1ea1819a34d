"""How ONNX Runtime wants its Q/DQ, so that it fuses them to integer kernels.

Its x86 kernels multiply uint8 by int8 (VNNI); an activation in front of QuantizeLinear vanishes when the quantized
range does not leave its bounds (`qdq_transformer` in onnxruntime/core/optimizer).
"""

from __future__ import annotations

from types import MappingProxyType

from effc.calibration.scheme import MOVERS, OpRule, Scheme, gemm_axis
from effc.compiler import ir
from effc.compiler.passes.fuse import bounds

_COMPUTE = frozenset({"Conv", "Gemm", "MatMul", "Add", "Mul"})


_RULES = {
    "Conv": OpRule(inputs=(0,), weight=1, weight_axis=lambda _: 0, bias=2),
    "Gemm": OpRule(inputs=(0,), weight=1, weight_axis=gemm_axis, bias=2),
    "MatMul": OpRule(inputs=(0,), weight=1, weight_axis=lambda _: 1),
    **{
        op: OpRule() for op in ("Add", "Mul", "Relu", "Clip", "LeakyRelu", "AveragePool", "GlobalAveragePool", "Concat")
    },
    **{op: OpRule(inputs=(0,)) for op in MOVERS - {"Concat"}},
}


def bounded_below_by_zero(node: ir.Node) -> bool:
    """Whether the node is Relu, or Clip with constant bounds of which the lower one is 0."""
    found = bounds(node)
    return found is not None and found[0] == 0.0


def fused(producer: ir.Node, activation: ir.Node) -> bool:
    """Whether the activation is absorbed by its producer's requantization."""
    return producer.op_type in _COMPUTE and bounded_below_by_zero(activation)


def accepts(node: ir.Node) -> bool:
    """Whether this node has an integer kernel."""
    if node.op_type == "MatMul":
        weight = ir.const(node.inputs[1])
        return weight is not None and weight.ndim == 2
    if node.op_type in ("Relu", "Clip"):
        producer = node.inputs[0].producer() if node.inputs[0] is not None else None
        return producer is not None and fused(producer, node)
    if node.op_type == "MaxPool":
        return len(node.outputs) == 1
    if node.op_type == "AveragePool":  # QLinearAveragePool counts a window beyond the padding otherwise
        return not (ir.attr_int(node, "ceil_mode", 0) and ir.attr_int(node, "count_include_pad", 0))
    if node.op_type == "Resize":
        return ir.attr_str(node, "mode", "nearest") == "nearest"
    return True


INT8 = Scheme(
    name="ort-int8",
    activation="uint8",
    bias="int32",
    ops=MappingProxyType(_RULES),
    same_scale=MOVERS,
    fused=fused,
    accepts=accepts,
)
