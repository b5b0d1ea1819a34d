"""How TFLite's int8 kernels want their graph: int8 per tensor, weights per channel, bias int32."""

from __future__ import annotations

from types import MappingProxyType

from effc.backends.tflite.layout import root
from effc.calibration.scheme import OpRule, QParams, Scheme, gemm_axis
from effc.compiler import ir
from effc.compiler.passes.fuse import bounds

SAME_SCALE = frozenset(
    {
        "Concat",
        "DepthToSpace",
        "Expand",
        "Gather",
        "MaxPool",
        "Pad",
        "ReduceMax",
        "ReduceMin",
        "Reshape",
        "Resize",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Tile",
        "Transpose",
    }
)
FUSABLE = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul", "AveragePool"})
_BOUNDS = {(0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1", (0.0, float("inf")): "RELU"}


_RULES = {
    "Conv": OpRule(inputs=(0,), weight=1, weight_axis=lambda _: 0, bias=2),
    "ConvTranspose": OpRule(inputs=(0,), weight=1, weight_axis=lambda _: 1, bias=2),
    "Gemm": OpRule(inputs=(0,), weight=1, weight_axis=gemm_axis, bias=2),
    "MatMul": OpRule(inputs=(0,), weight=1, weight_axis=lambda _: 1),
    "Sigmoid": OpRule(output=QParams(1 / 256, -128)),
    "Tanh": OpRule(output=QParams(1 / 128, 0)),
    **{op: OpRule() for op in ("Add", "Sub", "Mul", "Relu", "Clip", "LeakyRelu", "AveragePool", "ReduceMean")},
    **{op: OpRule(inputs=(0,)) for op in SAME_SCALE - {"Concat"}},
    "Concat": OpRule(),
}


def activation(node: ir.Node) -> str | None:
    """The fused activation that equals this node, None where TFLite has none."""
    found = bounds(node)
    return None if found is None else _BOUNDS.get(found)


def by_matrix(node: ir.Node) -> bool:
    """Whether a MatMul's right side is a constant matrix: FULLY_CONNECTED, where others are BATCH_MATMUL."""
    right = node.inputs[1]
    weight = None if right is None else ir.const(root(right))
    return weight is not None and weight.ndim == 2


def follows(producer: ir.Node, follower: ir.Node) -> bool:
    """Whether `follower` is a clamp behind a kernel that may take it in."""
    if producer.op_type not in FUSABLE or (producer.op_type == "MatMul" and not by_matrix(producer)):
        return False
    return follower.inputs[0] in producer.outputs and bounds(follower) is not None


def fused(producer: ir.Node, follower: ir.Node) -> bool:
    """Whether `follower` becomes part of `producer`'s int8 kernel.

    Any clamp around 0 does: its range is the output's, so that the integers saturate where it cuts.
    """
    lo, hi = bounds(follower) or (1.0, 1.0)
    return follows(producer, follower) and lo <= 0.0 <= hi


def accepts(node: ir.Node) -> bool:
    """Whether this node has an int8 kernel worth running."""
    if node.op_type == "MatMul":
        return by_matrix(node)
    if node.op_type in ("Relu", "Clip"):
        return bounds(node) is not None
    return all(v is None or v.dtype in (ir.DataType.FLOAT, None) for v in node.inputs[:1])


INT8 = Scheme(
    name="tflite-int8",
    activation="int8",
    bias="int32",
    ops=MappingProxyType(_RULES),
    same_scale=SAME_SCALE,
    fused=fused,
    accepts=accepts,
)
