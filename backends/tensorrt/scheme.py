"""Where TensorRT wants its Q/DQ, so that they become part of 8-bit kernels and nothing else is rounded.

Symmetric with zero point 0, biases in float, weights as 8-bit constants behind DequantizeLinear. A kernel can put out
floats, so only what another 8-bit kernel reads is quantized; in between, activations and residual sums stay inside the
convolution's kernel. Softmax, normalization and products of two activations stay float.
Source: NVIDIA, "TensorRT documentation", explicit quantization, Q/DQ placement and Q/DQ fusion.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from effc.calibration.formats import FLOAT8
from effc.calibration.scheme import MOVERS, OpRule, Scheme, gemm_axis
from effc.compiler import ir
from effc.compiler.passes.rewrite import input_at, is_private, maker

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_EPILOGUES = ("Relu", "Clip", "LeakyRelu", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Elu", "Gelu")
_AVERAGES = ("AveragePool", "GlobalAveragePool", "ReduceMean")
_LARGEST_FP8_WINDOW = 32


def _deconvolution_axis(node: ir.Node) -> int | None:
    """With groups, axis 1 counts the channels of one group only: one scale for all."""
    return 1 if ir.attr_int(node, "group", 1) == 1 else None


_WEIGHTED_RULES = {
    "Conv": OpRule(inputs=(0,), weight=1, weight_axis=lambda _: 0, bias=2),
    "ConvTranspose": OpRule(inputs=(0,), weight=1, weight_axis=_deconvolution_axis, bias=2),
    "Gemm": OpRule(inputs=(0,), weight=1, weight_axis=gemm_axis, bias=2),
    "MatMul": OpRule(inputs=(0,), weight=1, weight_axis=lambda _: 1),
    **{op: OpRule(inputs=(0,), inside=True) for op in _EPILOGUES},
}
_INT8_RULES = {
    **_WEIGHTED_RULES,
    "Add": OpRule(),
    "Concat": OpRule(),
    **{op: OpRule(inputs=(0,)) for op in (*MOVERS, *_AVERAGES) if op != "Concat"},
}


def is_residual(node: ir.Node) -> bool:
    """Whether the node adds two computed images of one shape."""
    dims = [ir.shape(v) for v in node.inputs]
    computed = all(v is not None and ir.const(v) is None for v in node.inputs)
    return node.op_type == "Add" and computed and len(dims[0] or ()) > 3 and dims[0] == dims[1]


def carrier(node: ir.Node) -> ir.Node | None:
    """The convolution whose kernel takes the residual sum in: the first input's, else the second's."""
    found = (maker(v, "Conv") for v in node.inputs if v is not None and is_private(v))
    return next((conv for conv in found if conv is not None), None) if is_residual(node) else None


def fused(producer: ir.Node, follower: ir.Node) -> bool:
    """Whether `follower` becomes part of `producer`'s kernel."""
    if follower.op_type == "Add":
        return carrier(follower) is producer
    if follower.op_type not in _EPILOGUES:
        return False
    return producer.op_type in _WEIGHTED or producer.op_type == "Add"


def accepts(node: ir.Node) -> bool:
    """Whether this node can run in 8 bits."""
    if node.op_type == "MatMul":
        weight = ir.const(node.inputs[1])
        return weight is not None and weight.ndim == 2
    if node.op_type == "Add":
        return is_residual(node)
    if node.op_type == "Resize":
        return ir.attr_str(node, "mode", "nearest") == "nearest"
    if node.op_type == "ReduceMean":
        axes = ir.const(input_at(node, 1))
        return (
            axes is not None
            and ir.rank(node.inputs[0]) > 3
            and all(int(axis) % ir.rank(node.inputs[0]) > 1 for axis in axes)
        )
    if node.op_type in MOVERS:  # of a table of constants, such as an embedding, nothing is gained
        return (len(node.outputs) == 1 or node.op_type == "Split") and ir.const(node.inputs[0]) is None
    return True


def accepts_fp8(node: ir.Node) -> bool:
    """Whether there are float8 kernels for this node: none for grouped convolutions, nor for windows over 32 elements.

    Source: NVIDIA, TensorRT release notes, limitations.
    """
    if node.op_type != "Conv":
        return accepts(node)
    window = ir.static_shape_from(node.inputs[1], 2)
    return ir.attr_int(node, "group", 1) == 1 and window is not None and math.prod(window) <= _LARGEST_FP8_WINDOW


INT8 = Scheme(
    name="tensorrt-int8",
    activation="int8",
    symmetric=True,
    bias="float",
    ops=MappingProxyType(_INT8_RULES),
    same_scale=MOVERS,
    passive=frozenset({*MOVERS, *_AVERAGES, *_EPILOGUES, "Add"}),
    float_outputs=True,
    fused=fused,
    accepts=accepts,
)
FP8 = Scheme(
    name="tensorrt-fp8",
    activation=FLOAT8,
    symmetric=True,
    bias="float",
    ops=MappingProxyType({op: rule for op, rule in _WEIGHTED_RULES.items() if op != "ConvTranspose"}),
    passive=frozenset(_EPILOGUES),
    float_outputs=True,
    fused=fused,
    accepts=accepts_fp8,
)
SCHEMES: Mapping[str, Scheme] = MappingProxyType({"int8": INT8, "best": INT8, "fp8": FP8})
