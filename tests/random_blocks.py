"""More of the table: reductions, normalizations, layers, and activations as exporters write them out."""

from __future__ import annotations

import numpy as np
from random_graphs import BOOL, FLOAT, FLOATS, INT, NUMBERS, Graph, Unfit, Value, broadcast, op, partner

# reductions and normalizations


@op
def reduction(g: Graph) -> None:
    x = g.take((FLOAT,), 1)
    kind = g.some(["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare"])
    axes = [g.ints(g.axis(x))] if g.chance() else []
    g.add(kind, x, *axes, keepdims=g.some([0, 1]), exact=kind in ("ReduceMax", "ReduceMin"))


@op
def log_sum_exp(g: Graph) -> None:
    x = g.take((FLOAT,), 1)
    g.add("ReduceLogSumExp", x, g.ints(g.axis(x)), keepdims=g.some([0, 1]))


@op
def softmax(g: Graph) -> None:
    x = g.take(FLOATS, 1)
    g.add(g.some(["Softmax", "LogSoftmax"]), x, axis=g.axis(x))


@op
def indices(g: Graph) -> None:
    x = g.take((FLOAT, INT), 1, exact=True)
    g.add(g.some(["ArgMax", "ArgMin"]), x, axis=g.axis(x), keepdims=g.some([0, 1]))


@op
def top(g: Graph) -> None:
    x = g.take((FLOAT,), 1, exact=True)
    g.add("TopK", x, g.ints(1), axis=g.axis(x), outputs=2, exact=True)


@op
def one_hot(g: Graph) -> None:
    depth, values = g.weight(np.array(4, np.int64)), g.weight(np.array([0, 1], np.float32))
    g.add("OneHot", g.take((INT,)), depth, values)


@op
def layer_normalization(g: Graph) -> None:
    x = g.take((FLOAT,), 2)
    width = last(x)
    g.add("LayerNormalization", x, g.uniform([width]), *g.some([[g.uniform([width])], []]), axis=-1)


@op
def layer_normalization_written_out(g: Graph) -> None:
    x = g.take((FLOAT,), 2)
    centred = g.add("Sub", x, mean(g, x))
    square = g.add("Mul", centred, centred) if g.chance() else g.add("Pow", centred, g.number(2))
    deviation = g.add("Sqrt", g.add("Add", mean(g, square), g.number(1e-5)))
    scaled = g.add("Mul", g.add("Div", centred, deviation), g.uniform([last(x)]))
    if g.chance():
        g.add("Add", scaled, g.uniform([last(x)]))


@op
def root_mean_square_written_out(g: Graph) -> None:
    x = g.take((FLOAT,), 2)
    root = g.add("Sqrt", g.add("Add", mean(g, g.add("Mul", x, x)), g.number(1e-6)))
    normal = g.add("Mul", x, g.add("Reciprocal", root)) if g.chance() else g.add("Div", x, root)
    g.add("Mul", normal, g.uniform([last(x)]))


def last(x: Value) -> int:
    if not isinstance(x.dims[-1], int) or x.dims[-1] < 2:
        raise Unfit
    return x.dims[-1]


def mean(g: Graph, x: Value) -> Value:
    return g.add("ReduceMean", x, g.ints(-1), keepdims=1)


@op
def channel_normalization(g: Graph) -> None:
    x = g.take((FLOAT,), 3)
    if x.dims[1] != 4:
        raise Unfit
    weights = [g.uniform([4]), g.uniform([4])]
    kind = g.some(["InstanceNormalization", "GroupNormalization"])
    g.add(kind, x, *weights, **({"num_groups": 2} if kind == "GroupNormalization" else {}))


@op
def batch_normalization(g: Graph) -> None:
    normalize(g, g.take((FLOAT,), 3))


def normalize(g: Graph, x: Value) -> Value:
    if not isinstance(x.dims[1], int):
        raise Unfit
    scale, shift, centre = (g.uniform([x.dims[1]]) for _ in range(3))
    return g.add("BatchNormalization", x, scale, shift, centre, g.weight(np.full(x.dims[1], 0.7, np.float32)))


# layers


@op
def convolution(g: Graph) -> None:
    """With what stands around it in networks: a Pad before, a BN or a factor behind."""
    x = g.take((FLOAT,), 4)
    if x.rank != 4 or not isinstance(x.dims[1], int):
        raise Unfit
    channels, groups = x.dims[1], g.some([1, x.dims[1]])
    if g.chance():
        x = g.add("Pad", x, g.ints(0, 0, 1, 1, 0, 0, 1, 1))
    bias = [g.uniform([channels])] if g.chance() else []
    made = g.add("Conv", x, g.uniform([channels, channels // groups, 3, 3]), *bias, group=groups, pads=[1] * 4)
    behind(g, made)


@op
def transposed_convolution(g: Graph) -> None:
    x = g.take((FLOAT,), 4)
    if x.rank != 4 or not isinstance(x.dims[1], int):
        raise Unfit
    behind(g, g.add("ConvTranspose", x, g.uniform([x.dims[1], 4, 2, 2]), strides=[2, 2]))


def behind(g: Graph, x: Value) -> None:
    if g.chance():
        normalize(g, x)
    elif g.chance():
        g.add(g.some(["Mul", "Add"]), x, g.uniform([4, 1, 1]))


@op
def pooling(g: Graph) -> None:
    x = g.take((FLOAT,), 4)
    kind = g.some(["MaxPool", "AveragePool"])
    g.add(kind, x, kernel_shape=[2, 2], pads=[0, 0, 1, 1], exact=kind == "MaxPool")


@op
def global_pooling(g: Graph) -> None:
    g.add(g.some(["GlobalAveragePool", "GlobalMaxPool"]), g.take((FLOAT,), 3))


@op
def dense(g: Graph) -> None:
    x = g.take((FLOAT,), 2)
    width, size = last(x), g.some([3, 8])
    made = g.add("MatMul", x, g.uniform([width, size]))
    if g.chance():
        g.add("Add", made, g.uniform([size]))


@op
def general_product(g: Graph) -> None:
    x = g.take((FLOAT,), rank=2)
    turned = g.some([0, 1])
    dims = [8, last(x)] if turned else [last(x), 8]
    made = g.add("Gemm", x, g.uniform(dims), *g.some([[g.uniform([8])], []]), transB=turned, alpha=g.some([1.0, 0.5]))
    if g.chance():
        g.add("Mul", made, g.uniform([8]))


@op
def product_of_two(g: Graph) -> None:
    x = g.take((FLOAT,), 2)
    other = g.add("Transpose", x, perm=[*range(x.rank - 2), x.rank - 1, x.rank - 2], exact=True)
    g.add("MatMul", x, other)


@op
def einsum(g: Graph) -> None:
    x = g.take((FLOAT,), 2)
    g.add("Einsum", x, g.uniform([last(x), 4]), equation="...i,ij->...j")


@op
def gated_recurrence(g: Graph) -> None:
    x = g.take((FLOAT,), rank=3)
    kind, gates = g.some([("GRU", 3), ("LSTM", 4), ("RNN", 1)])
    weights = [g.uniform([1, gates * 4, last(x)]), g.uniform([1, gates * 4, 4])]
    g.add(kind, x, *weights, hidden_size=4, outputs=g.some([1, 2]))


# comparisons and logic


@op
def comparison(g: Graph) -> None:
    x = g.take(NUMBERS, exact=True)
    number = g.number(g.some([0, 1, 0.5 if x.dtype in FLOATS else 2]), x.dtype)
    g.add(g.some(["Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"]), x, number)


@op
def logic(g: Graph) -> None:
    x = g.take((BOOL,))
    others = [v for v in g.values if v.dtype == BOOL and broadcast(x, v)]
    g.add(g.some(["And", "Or", "Xor"]), x, g.some(others))


@op
def negation(g: Graph) -> None:
    g.add("Not", g.take((BOOL,)))


@op
def choice(g: Graph) -> None:
    condition, x = g.take((BOOL,)), g.take(NUMBERS)
    g.add("Where", condition, x, g.number(g.some([0, 1, -100]), x.dtype), exact=True)


@op
def chosen(g: Graph) -> None:
    """By a condition that is known."""
    x = g.take()
    g.add("Where", g.weight(np.array(g.chance())), x, partner(g, x), exact=True)


# activations as exporters write them out


@op
def swish(g: Graph) -> None:
    x = g.take(FLOATS)
    g.add("Mul", x, g.add("Sigmoid", x))


@op
def hard_swish(g: Graph) -> None:
    x = g.take((FLOAT,))
    gate = g.add("Clip", g.add("Add", x, g.number(3)), g.number(0), g.number(6))
    g.add("Div", g.add("Mul", x, gate), g.number(6))


@op
def hard_swish_by_sigmoid(g: Graph) -> None:
    x = g.take((FLOAT,))
    g.add("Mul", x, g.add("HardSigmoid", x, alpha=1 / 6, beta=0.5))


@op
def mish(g: Graph) -> None:
    x = g.take((FLOAT,))
    g.add("Mul", x, g.add("Tanh", g.add("Softplus", x)))


@op
def softplus(g: Graph) -> None:
    x = g.add("Tanh", g.take((FLOAT,)))
    g.add("Log", g.add("Add", g.add("Exp", x), g.number(1)))


@op
def gelu_by_erf(g: Graph) -> None:
    x = g.take((FLOAT,))
    gate = g.add("Add", g.add("Erf", g.add("Div", x, g.number(2**0.5))), g.number(1))
    product = g.add("Mul", x, gate) if g.chance() else g.add("Mul", gate, x)
    g.add("Mul", product, g.number(0.5))


@op
def gelu_by_tanh(g: Graph) -> None:
    x = g.take((FLOAT,))
    cube = g.add("Mul", g.add("Pow", x, g.number(3)), g.number(0.044715))
    inner = g.add("Tanh", g.add("Mul", g.add("Add", x, cube), g.number((2 / np.pi) ** 0.5)))
    g.add("Mul", g.add("Mul", x, g.number(0.5)), g.add("Add", inner, g.number(1)))


@op
def quantized(g: Graph) -> None:
    x = g.take((FLOAT,), exact=True)
    scale, zero = g.number(0.25), g.weight(np.array(3, np.int8))
    g.add("DequantizeLinear", g.add("QuantizeLinear", x, scale, zero), scale, zero)


@op
def masked(g: Graph) -> None:
    """Attention's mask: (1 - m) * -10000 added to scores."""
    x = g.take((FLOAT,), 2)
    ones = g.add("Cast", g.take((INT,)), to=FLOAT)
    g.add("Add", x, g.add("Mul", g.add("Sub", g.number(1), ones), g.number(-100)))
