"""How our integer kernels want their graph: int8 per tensor, weights per channel, one scheme for all CPUs.

A kernel sums in int32 and goes on in float32 registers, so that a bias stays float, any element-wise nodes and a
residual sum are part of the convolution that they follow, and what no integer kernel reads is put out as floats.
"""

from __future__ import annotations

from types import MappingProxyType

from effc.calibration.scheme import MOVERS, OpRule, Scheme, gemm_axis
from effc.compiler import ir
from effc.compiler.passes.rewrite import input_at, is_private, maker

_WEIGHTED = ("Conv", "Gemm", "MatMul")
_SUMS = ("Add", "Mul")
_EPILOGUES = (
    *("Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh"),
    *("Elu", "Gelu", "Mish", "Softplus"),
)
_AVERAGES = ("AveragePool", "GlobalAveragePool", "ReduceMean")
_RULES = {
    "Conv": OpRule(inputs=(0,), weight=1, weight_axis=lambda _: 0, bias=2),
    "Gemm": OpRule(inputs=(0,), weight=1, weight_axis=gemm_axis, bias=2),
    "MatMul": OpRule(inputs=(0,), weight=1, weight_axis=lambda _: 1),
    **{op: OpRule(inputs=(0,), inside=True) for op in _EPILOGUES},
    **{op: OpRule(inputs=(0,)) for op in (*MOVERS, *_AVERAGES)},
    **{op: OpRule() for op in (*_SUMS, "Concat")},
}


def is_residual(node: ir.Node) -> bool:
    """Whether the node adds two computed images of one shape."""
    dims = [ir.shape(v) for v in node.inputs]
    computed = all(v is not None and ir.const(v) is None for v in node.inputs)
    return node.op_type == "Add" and computed and len(dims[0] or ()) > 3 and dims[0] == dims[1]


def carrier(node: ir.Node) -> ir.Node | None:
    """The convolution whose kernel takes the residual sum in: the one that is computed last."""
    found = [maker(v, "Conv") for v in node.inputs if v is not None and is_private(v)]
    return next((conv for conv in reversed(found) if conv is not None), None) if is_residual(node) else None


def fused(producer: ir.Node, follower: ir.Node) -> bool:
    """Whether `follower` becomes part of `producer`'s kernel."""
    if follower.op_type == "Add":
        return carrier(follower) is producer
    return follower.op_type in _EPILOGUES and producer.op_type in (*_WEIGHTED, *_SUMS)


def accepts(node: ir.Node) -> bool:
    """Whether this node has a kernel that reads integers."""
    if node.op_type == "MatMul":
        weight = ir.const(node.inputs[1])
        return weight is not None and weight.ndim == 2
    if node.op_type in _SUMS:  # of computed images: all else is part of another kernel, or small
        return all(v is not None and ir.const(v) is None and ir.rank(v) > 3 for v in node.inputs)
    if node.op_type == "Resize":
        return ir.attr_str(node, "mode", "nearest") == "nearest"
    if node.op_type == "ReduceMean":
        return _over_the_image(node)
    if node.op_type in MOVERS:  # of a table of constants, such as an embedding, nothing is gained
        return (len(node.outputs) == 1 or node.op_type == "Split") and ir.const(node.inputs[0]) is None
    return True


def _over_the_image(node: ir.Node) -> bool:
    axes, rank = ir.const(input_at(node, 1)), ir.rank(node.inputs[0])
    return axes is not None and rank == 4 and sorted(int(axis) % rank for axis in axes) == [2, 3]


INT8 = Scheme(
    name="tvm-int8",
    activation="int8",
    bias="float",
    ops=MappingProxyType(_RULES),
    same_scale=MOVERS,
    passive=frozenset({*MOVERS, *_AVERAGES, *_EPILOGUES, *_SUMS}),
    float_outputs=True,
    fused=fused,
    accepts=accepts,
)
