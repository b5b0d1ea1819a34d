"""How much each op computes, from the shapes of its tensors: one formula an op or kind of ops."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from effc.compiler import ir
from effc.compiler.extents import MOVES, ops
from effc.compiler.lowering import OpTable
from effc.compiler.passes.rewrite import input_at


@dataclass(frozen=True)
class Work:
    """What nodes compute.

    Attributes:
        macs: multiply-accumulates.
        flops: operations on single numbers, of which a multiply-accumulate is two.
        unknown: nodes whose work is missing.
    """

    macs: int = 0
    flops: int = 0
    unknown: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.macs + other.macs, self.flops + other.flops, self.unknown + other.unknown)

    def __mul__(self, times: int) -> Work:
        return Work(self.macs * times, self.flops * times, self.unknown)


Formula = Callable[[ir.Node], Work]
"""Takes a node whose tensors all have numbers as dims."""
FORMULAS: OpTable[Formula] = OpTable("cost")
FREE = MOVES | ops(
    "Cast CastLike Constant ConstantOfShape Dropout EyeLike NonZero OneHot Range ReverseSequence Scatter Shape Size "
    "Compress CenterCropPad OptionalHasElement OptionalGetElement Optional SequenceAt SequenceConstruct SequenceEmpty "
    "SequenceErase SequenceInsert SequenceLength SplitToSequence ConcatFromSequence BlackmanWindow HammingWindow "
    "HannWindow RandomNormal RandomNormalLike RandomUniform RandomUniformLike"
)
"""Ops that move, convert or make data."""


def size(value: ir.Value | None) -> int:
    """Elements of a tensor; 0 where there is none."""
    return 0 if value is None else math.prod(ir.static_shape(value) or ())


def _dims(node: ir.Node, position: int) -> tuple[int, ...]:
    return ir.static_shape(input_at(node, position)) or ()


def _products(macs: int, flops: int = 0) -> Work:
    """So many multiply-accumulates, and other operations beside them."""
    return Work(macs, 2 * macs + flops)


@FORMULAS.op("Conv", "ConvInteger", "DeformConv", "QLinearConv")
def convolution(node: ir.Node) -> Work:
    """Each element of y [n, O, ...] sums I/g k products with W [O, I/g, k...]; a bias is one more addition."""
    quantized = node.op_type == "QLinearConv"
    filters, bias = (3, 8) if quantized else (1, 3 if node.op_type == "DeformConv" else 2)
    out = size(node.outputs[0])
    added = out if input_at(node, bias) is not None and node.op_type != "ConvInteger" else 0
    return _products(out * math.prod(_dims(node, filters)[1:]), added)


@FORMULAS.op("ConvTranspose")
def transposed(node: ir.Node) -> Work:
    """Each element of x [n, I, ...] is multiplied with O/g k weights of W [I, O/g, k...]."""
    bias = size(node.outputs[0]) if input_at(node, 2) is not None else 0
    return _products(size(node.inputs[0]) * math.prod(_dims(node, 1)[1:]), bias)


@FORMULAS.op("Gemm")
def gemm(node: ir.Node) -> Work:
    """y [M, N] sums K products an element; a third operand is one more addition."""
    inner = _dims(node, 0)[0 if ir.attr_int(node, "transA", 0) else 1]
    out = size(node.outputs[0])
    return _products(out * inner, out if input_at(node, 2) is not None else 0)


@FORMULAS.op("MatMul", "MatMulInteger", "QLinearMatMul")
def matmul(node: ir.Node) -> Work:
    """y [..., M, N] sums K products an element, K the last dim of the first operand."""
    return _products(size(node.outputs[0]) * (_dims(node, 0) or (1,))[-1])


@FORMULAS.op("Einsum")
def einsum(node: ir.Node) -> Work:
    """Every combination of all labels' values once, for each operand but the first; MACs where labels are summed."""
    terms, arrow, result = ir.attr_str(node, "equation", "").replace(" ", "").partition("->")
    labels = [_labels(term, len(_dims(node, i))) for i, term in enumerate(terms.split(","))]
    extent: dict[str, int] = {}
    for i, own in enumerate(labels):
        for label, dim in zip(own, _dims(node, i), strict=True):
            extent[label] = max(extent.get(label, 1), dim)
    summed = size(node.outputs[0]) != math.prod(extent.values()) or _hides(labels, arrow, result)
    total = math.prod(extent.values()) * max(len(labels) - 1, 0)
    if len(labels) == 1:
        return Work(0, math.prod(extent.values()) if summed else 0)
    return _products(total) if summed else Work(0, total)


def _labels(term: str, rank: int) -> tuple[str, ...]:
    """One label a dim; those of an ellipsis are numbered from the end, as broadcasting aligns them."""
    head, dots, tail = term.partition("...")
    hidden = rank - len(head) - len(tail) if dots else 0
    return (*head, *(f"...{i}" for i in range(hidden, 0, -1)), *tail)


def _hides(labels: list[tuple[str, ...]], arrow: str, result: str) -> bool:
    """Whether a label of the operands is missing in the result."""
    counted = Counter(label for own in labels for label in own if not label.startswith("."))
    kept = set(result) if arrow else {label for label, count in counted.items() if count == 1}
    return bool(counted.keys() - kept)


@FORMULAS.op("LSTM", "GRU", "RNN")
def recurrent(node: ir.Node) -> Work:
    """Each of T steps of B sequences multiplies with all of W [d, g h, i] and R [d, g h, h]; gates are left out."""
    first, second = _dims(node, 0)[:2]
    return _products(first * second * (size(input_at(node, 1)) + size(input_at(node, 2))))


@FORMULAS.op("Attention")
def attention(node: ir.Node) -> Work:
    """H L S (d_k + d_v) for scores and their use, H heads, L queries and S keys, and a softmax of the scores."""
    query, key, value = (_dims(node, i) for i in range(3))
    past = _dims(node, 4)[2] if input_at(node, 4) is not None else 0
    if len(query) == 4:
        batch, heads, length, depth = query
        keys, width = key[2], value[3]
    else:
        batch, length = query[:2]
        heads, keys = ir.attr_int(node, "q_num_heads", 1), key[1]
        depth, width = query[2] // heads, value[2] // ir.attr_int(node, "kv_num_heads", heads)
    scores = batch * heads * length * (keys + past)
    return _products(scores * (depth + width), _SOFTMAX * scores)


_SOFTMAX = 5
"""Operations an element of a softmax: maximum, difference, exponential, sum, quotient."""
_EACH = {
    **dict.fromkeys(
        ops(
            "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil "
            "Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf "
            "IsNaN LeakyRelu Less LessOrEqual Log Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink "
            "Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Swish Tan Tanh ThresholdedRelu Where Xor"
        ),
        1,
    ),
    **dict.fromkeys(ops("BatchNormalization DequantizeLinear QuantizeLinear"), 2),
    **dict.fromkeys(ops("LpNormalization RMSNormalization"), 4),
    **dict.fromkeys(ops("GroupNormalization InstanceNormalization LayerNormalization MeanVarianceNormalization"), 5),
    **dict.fromkeys(ops("Hardmax LogSoftmax Softmax"), _SOFTMAX),
}
"""Operations an element of the output: scale and shift; mean, variance, root, scale and shift."""


@FORMULAS.op(*_EACH)
def elementwise(node: ir.Node) -> Work:
    """A fixed number of operations an element of the output."""
    return Work(0, _EACH[node.op_type] * size(node.outputs[0]))


@FORMULAS.op("Max", "Mean", "Min", "Sum")
def variadic(node: ir.Node) -> Work:
    """One operation an element for each operand but the first."""
    return Work(0, max(len(node.inputs) - 1, 0) * size(node.outputs[0]))


@FORMULAS.op(
    *("ArgMax", "ArgMin", "CumSum", "DynamicQuantizeLinear", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool"),
    *(f"Reduce{kind}" for kind in ops("L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare")),
)
def reduction(node: ir.Node) -> Work:
    """One operation an element of the input."""
    return Work(0, size(node.inputs[0]))


@FORMULAS.op("AveragePool", "LpPool", "MaxPool")
def pool(node: ir.Node) -> Work:
    """One operation for each element of each window."""
    return Work(0, size(node.outputs[0]) * math.prod(ir.attr_ints(node, "kernel_shape", ())))


@FORMULAS.op("LRN")
def local_response(node: ir.Node) -> Work:
    """A window of squares over the channels, a power and a quotient."""
    return Work(0, size(node.outputs[0]) * (2 * ir.attr_int(node, "size", 1) + 3))


@FORMULAS.op("Resize", "Upsample", "GridSample")
def interpolation(node: ir.Node) -> Work:
    """Each element of the output weighs 2 neighbours in each of d dims, 4 if cubic: a product and a sum for each."""
    taps = {"linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}.get(ir.attr_str(node, "mode", "nearest"), 0)
    if node.op_type == "GridSample":
        changed, taps = len(_dims(node, 0)) - 2, taps or (2 if "mode" not in node.attributes else 0)
    else:
        changed = sum(a != b for a, b in zip(_dims(node, 0), ir.static_shape(node.outputs[0]) or (), strict=False))
    return Work(0, 2 * size(node.outputs[0]) * taps**changed if taps else 0)
