"""Ops as exporters write them out, and what only looks like one: tables of graphs, and how they are composed."""

# ruff: noqa: E501 (a graph is easiest to read in one line)

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import onnx
import onnx.parser

from effc.compiler import frontend, ir, oracle, phase
from effc.compiler.metrics import sqnr_db
from effc.compiler.passes import simplification

Dims = tuple[int, ...]
LEAST_DB, LEAST_HALF_DB = 90.0, 40.0
SIZES = (1, 3)


def build(
    text: str, opset: int, weights: Mapping[str, Dims] | None = None, halves: Mapping[str, float] | None = None
) -> onnx.ModelProto:
    """The model of a text, with seeded weights of the given shapes, those named `h...` and `halves` in float16."""
    head = f'<ir_version: 10, opset_import: ["" : {max(opset, 21)}]>\n'
    proto = onnx.parser.parse_model(head + text)
    for name, shape in (weights or {}).items():
        random = np.random.default_rng(zlib.crc32(name.encode()))
        array = random.uniform(0.5, 1.5, shape).astype(np.float16 if name.startswith("h") else np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    for name, number in (halves or {}).items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(number, np.float16), name))
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(proto)


def composed(proto: onnx.ModelProto, opset: int) -> ir.Model:
    model = ir.from_bytes(proto.SerializeToString())
    frontend.settle(model, where="test")
    phase.run(model, simplification(opset))
    return model


def ops(model: ir.Model) -> list[str]:
    return sorted(node.op_type for node in model.graph)


def feeds_of(proto: onnx.ModelProto, size: int) -> oracle.Feeds:
    dims = {d: size for entry in oracle.graph_inputs(proto) for d in entry.shape if isinstance(d, str)}
    return oracle.seeded_feeds(proto, size, dims)


def assert_equal(proto: onnx.ModelProto, model: ir.Model) -> None:
    for size in SIZES:
        feeds = feeds_of(proto, size)
        before, after = oracle.Session(proto).run(feeds), oracle.Session(model).run(feeds)
        assert list(before) == list(after)
        for name, array in before.items():
            assert (array.dtype, array.shape) == (after[name].dtype, after[name].shape)
            assert np.isfinite(array).all()
            assert sqnr_db(array, after[name]) > (LEAST_DB if array.dtype.itemsize > 2 else LEAST_HALF_DB), name


V = "g (float[N,8] x) => (float[N,8] y) "
C = "<float half = {0.5}, float one = {1.0}, float two = {2.0}, float r2 = {1.4142135}, float ir2 = {0.70710677}, float z = {0.0}, float three = {3.0}, float six = {6.0}, float k = {0.044715}, float s = {0.7978846}, float t = {0.2}, float m = {-1.0}, float eps = {1e-5}, int64[1] last = {-1}> "
FUNCTIONS = [
    # GELU: as torch writes it, TensorFlow, Paddle, and in other orders
    ("gelu: x*(1+erf)*half", 20, "d = Div(x, r2) e = Erf(d) a = Add(e, one) b = Mul(x, a) y = Mul(b, half)", ["Gelu"]),
    ("gelu: half first", 20, "d = Mul(x, ir2) e = Erf(d) a = Add(one, e) b = Mul(half, x) y = Mul(b, a)", ["Gelu"]),
    ("gelu: half on erf", 20, "d = Div(x, r2) e = Erf(d) a = Add(e, one) b = Mul(a, half) y = Mul(x, b)", ["Gelu"]),
    ("gelu: sum of halves", 20, "d = Mul(ir2, x) e = Erf(d) a = Mul(e, half) b = Add(a, half) y = Mul(b, x)", ["Gelu"]),
    ("gelu: x halved by Div", 20, "d = Mul(ir2, x) e = Erf(d) a = Add(e, one) b = Div(x, two) y = Mul(b, a)", ["Gelu"]),
    ("gelu of a product", 20, "w = Mul(x, x) d = Div(w, r2) e = Erf(d) a = Add(e, one) b = Mul(w, a) y = Mul(b, half)", ["Gelu", "Mul"]),
    ("gelu: tanh, Pow", 20, "p = Pow(x, three) q = Mul(p, k) u = Add(x, q) v = Mul(u, s) h = Tanh(v) a = Add(h, one) b = Mul(x, half) y = Mul(b, a)", ["Gelu"]),
    ("gelu: tanh, products", 20, "w = Mul(x, x) p = Mul(w, x) q = Mul(p, k) u = Add(x, q) v = Mul(s, u) h = Tanh(v) a = Add(h, one) b = Mul(x, a) y = Mul(b, half)", ["Gelu"]),
    ("gelu: tanh, factored", 20, "w = Mul(x, x) p = Mul(w, k) u = Add(p, one) v = Mul(x, s) q = Mul(v, u) h = Tanh(q) a = Add(h, one) b = Mul(x, a) y = Mul(b, half)", ["Gelu"]),
    ("gelu, not halved", 20, "d = Div(x, r2) e = Erf(d) a = Add(e, one) y = Mul(x, a)", ["Gelu", "Mul"]),
    ("gelu, scaled", 20, "d = Div(x, r2) e = Erf(d) a = Add(e, one) b = Mul(x, a) y = Mul(b, t)", ["Gelu", "Mul"]),
    ("gelu below its opset", 19, "d = Div(x, r2) e = Erf(d) a = Add(e, one) b = Mul(x, a) y = Mul(b, half)", ["Add", "Div", "Erf", "Mul", "Mul"]),
    # sigmoid, swish
    ("swish", 24, "a = Sigmoid(x) y = Mul(x, a)", ["Swish"]),
    ("swish with alpha", 24, "b = Mul(x, t) a = Sigmoid(b) y = Mul(a, x)", ["Swish"]),
    ("swish with alpha, opset 21", 21, "b = Mul(t, x) a = Sigmoid(b) y = Mul(a, x)", ["Mul", "Mul", "Sigmoid"]),
    ("swish with alpha, split", 21, "b = Mul(x, t) c = Mul(six, b) a = Sigmoid(c) y = Mul(a, x)", ["Mul", "Mul", "Sigmoid"]),
    ("swish with alpha by exp", 24, "b = Mul(x, t) c = Neg(b) e = Exp(c) a = Add(e, one) y = Div(x, a)", ["Swish"]),
    ("swish with alpha by exp, opset 21", 21, "b = Mul(x, t) c = Neg(b) e = Exp(c) a = Add(e, one) y = Div(x, a)", ["Mul", "Mul", "Sigmoid"]),
    ("swish by exp, opset 21", 21, "b = Neg(x) e = Exp(b) a = Add(one, e) y = Div(x, a)", ["Mul", "Sigmoid"]),
    ("sigmoid of a multiple by exp", 21, "b = Mul(x, t) c = Neg(b) e = Exp(c) a = Add(e, one) y = Div(one, a)", ["Mul", "Sigmoid"]),
    ("swish by exp", 24, "b = Neg(x) e = Exp(b) a = Add(e, one) y = Div(x, a)", ["Swish"]),
    ("swish below its opset", 23, "a = Sigmoid(x) y = Mul(x, a)", ["Mul", "Sigmoid"]),
    ("sigmoid by exp", 21, "b = Neg(x) e = Exp(b) a = Add(one, e) y = Div(one, a)", ["Sigmoid"]),
    ("sigmoid by Reciprocal", 21, "b = Mul(x, m) e = Exp(b) a = Add(one, e) y = Reciprocal(a)", ["Sigmoid"]),
    ("sigmoid by tanh", 21, "b = Mul(x, half) h = Tanh(b) a = Mul(h, half) y = Add(a, half)", ["Sigmoid"]),
    ("tanh by sigmoid", 21, "b = Mul(x, two) h = Sigmoid(b) a = Mul(h, two) y = Sub(a, one)", ["Tanh"]),
    ("tanh by exp", 21, "b = Mul(x, two) e = Exp(b) n = Sub(e, one) d = Add(e, one) y = Div(n, d)", ["Tanh"]),
    ("tanh by two exponentials", 21, "b = Neg(x) e = Exp(x) f = Exp(b) n = Sub(e, f) d = Add(e, f) y = Div(n, d)", ["Tanh"]),
    # softplus, mish, softsign
    ("softplus", 21, "e = Exp(x) a = Add(e, one) y = Log(a)", ["Softplus"]),
    ("softplus, one first", 21, "e = Exp(x) a = Add(one, e) y = Log(a)", ["Softplus"]),
    ("softplus, stable", 21, "r = Relu(x) b = Abs(x) c = Neg(b) e = Exp(c) a = Add(e, one) l = Log(a) y = Add(l, r)", ["Softplus"]),
    ("mish", 18, "p = Softplus(x) h = Tanh(p) y = Mul(x, h)", ["Mish"]),
    ("mish by logarithm", 18, "e = Exp(x) a = Add(e, one) l = Log(a) h = Tanh(l) y = Mul(h, x)", ["Mish"]),
    ("mish by exp", 18, "e = Exp(x) a = Add(e, one) q = Mul(a, a) n = Sub(q, one) d = Add(q, one) h = Div(n, d) y = Mul(h, x)", ["Mish"]),
    ("mish below its opset", 17, "p = Softplus(x) h = Tanh(p) y = Mul(x, h)", ["Mul", "Softplus", "Tanh"]),
    ("softsign", 21, "b = Abs(x) a = Add(b, one) y = Div(x, a)", ["Softsign"]),
    # rectifiers
    ("leaky relu by Max", 21, "a = Mul(x, t) y = Max(x, a)", ["LeakyRelu"]),
    ("leaky relu by Where", 21, "c = Greater(x, z) a = Mul(t, x) y = Where(c, x, a)", ["LeakyRelu"]),
    ("leaky relu by Less", 21, "c = Less(x, z) a = Mul(t, x) y = Where(c, a, x)", ["LeakyRelu"]),
    ("leaky relu by relus", 21, "r = Relu(x) n = Neg(x) q = Relu(n) a = Mul(q, t) y = Sub(r, a)", ["LeakyRelu"]),
    ("leaky relu by Abs", 21, "w = Abs(x) a = Mul(x, half) b = Mul(x, t) c = Mul(w, half) d = Mul(w, t) p = Add(a, b) q = Sub(c, d) y = Add(p, q)", ["LeakyRelu"]),
    ("elu by Where", 21, "c = Greater(x, z) e = Exp(x) a = Sub(e, one) b = Mul(a, two) y = Where(c, x, b)", ["Elu"]),
    ("elu by Min", 21, "r = Relu(x) e = Exp(x) a = Sub(e, one) b = Mul(a, t) c = Min(b, z) y = Add(r, c)", ["Elu"]),
    ("selu", 21, "e = Elu<alpha=1.6732632>(x) y = Mul(e, r2)", ["Selu"]),
    # clamps
    ("hard sigmoid of a line", 21, "a = Mul(x, t) b = Add(a, half) y = Clip(b, z, one)", ["HardSigmoid"]),
    ("hard swish by Min, Max", 21, "a = Add(x, three) b = Max(a, z) c = Min(b, six) d = Mul(x, c) y = Div(d, six)", ["HardSwish"]),
    ("hard swish, x divided", 21, "a = Add(three, x) c = Clip(a, z, six) d = Div(x, six) y = Mul(d, c)", ["HardSwish"]),
    ("hard swish, scaled", 14, "a = Add(x, three) c = Clip(a, z, six) d = Mul(x, c) y = Mul(d, t)", ["HardSwish", "Mul"]),
    ("hard swish, not divided", 14, "a = Add(x, three) c = Clip(a, z, six) y = Mul(x, c)", ["HardSwish", "Mul"]),
    ("hard swish, scaled, below its opset", 13, "a = Add(x, three) c = Clip(a, z, six) d = Mul(x, c) y = Mul(d, t)", ["HardSigmoid", "Mul", "Mul"]),
    ("hard swish, not divided, below its opset", 13, "a = Add(x, three) c = Clip(a, z, six) y = Mul(x, c)", ["Add", "Clip", "Mul"]),
    ("hard sigmoid by Min, Max", 21, "a = Add(x, three) b = Min(a, six) c = Max(b, z) y = Div(c, six)", ["HardSigmoid"]),
]  # fmt: skip


LOOKALIKES = [
    ("gelu: another root", 20, "d = Mul(x, t) e = Erf(d) a = Add(e, one) b = Mul(x, a) y = Mul(b, half)", ["Add", "Erf", "Mul", "Mul", "Mul"]),
    ("gelu: minus one", 20, "d = Div(x, r2) e = Erf(d) a = Sub(e, one) b = Mul(x, a) y = Mul(b, half)", ["Div", "Erf", "Mul", "Mul", "Sub"]),
    ("gelu: another cubic", 20, "p = Pow(x, three) q = Mul(p, t) u = Add(x, q) v = Mul(u, s) h = Tanh(v) a = Add(h, one) b = Mul(x, half) y = Mul(b, a)", ["Add", "Add", "Mul", "Mul", "Mul", "Mul", "Pow", "Tanh"]),
    ("gelu: a square for a cube", 20, "p = Mul(x, x) q = Mul(p, k) u = Add(x, q) v = Mul(u, s) h = Tanh(v) a = Add(h, one) b = Mul(x, half) y = Mul(b, a)", ["Add", "Add", "Mul", "Mul", "Mul", "Mul", "Mul", "Tanh"]),
    ("gelu of another tensor", 20, "w = Abs(x) d = Div(x, r2) e = Erf(d) a = Add(e, one) b = Mul(w, a) y = Mul(b, half)", ["Abs", "Add", "Div", "Erf", "Mul", "Mul"]),
    ("sigmoid of exp x", 21, "e = Exp(x) a = Add(one, e) y = Div(one, a)", ["Add", "Div", "Exp"]),
    ("sigmoid of two", 21, "b = Neg(x) e = Exp(b) a = Add(one, e) y = Div(two, a)", ["Add", "Div", "Exp", "Neg"]),
    ("swish of two by exp", 21, "b = Mul(x, t) c = Neg(b) e = Exp(c) a = Add(e, two) y = Div(x, a)", ["Add", "Div", "Exp", "Mul"]),
    ("swish by exp of another tensor", 21, "b = Mul(x, t) c = Neg(b) e = Exp(c) a = Add(e, one) w = Abs(x) y = Div(w, a)", ["Abs", "Add", "Div", "Exp", "Mul"]),
    ("tanh of another sigmoid", 21, "h = Sigmoid(x) a = Mul(h, two) y = Sub(a, one)", ["Mul", "Sigmoid", "Sub"]),
    ("swish of another tensor", 24, "b = Abs(x) a = Sigmoid(b) y = Mul(x, a)", ["Abs", "Mul", "Sigmoid"]),
    ("swish of a shifted tensor", 24, "b = Add(x, t) a = Sigmoid(b) y = Mul(x, a)", ["Add", "Mul", "Sigmoid"]),
    ("softplus of two", 21, "e = Exp(x) a = Add(e, two) y = Log(a)", ["Add", "Exp", "Log"]),
    ("mish of another tensor", 18, "b = Abs(x) p = Softplus(b) h = Tanh(p) y = Mul(x, h)", ["Abs", "Mul", "Softplus", "Tanh"]),
    ("softsign over two", 21, "b = Abs(x) a = Add(b, two) y = Div(x, a)", ["Abs", "Add", "Div"]),
    ("leaky relu that is steeper below", 21, "a = Mul(x, two) y = Max(x, a)", ["Max", "Mul"]),
    ("leaky relu from one on", 21, "c = Greater(x, one) a = Mul(t, x) y = Where(c, x, a)", ["Greater", "Mul", "Where"]),
    ("leaky relu upside down", 21, "c = Less(x, z) a = Mul(t, x) y = Where(c, x, a)", ["Less", "Mul", "Where"]),
    ("leaky relu of more than one", 21, "w = Abs(x) a = Mul(x, half) c = Mul(w, t) y = Add(a, c)", ["Abs", "Add", "Mul", "Mul"]),
    ("elu minus two", 21, "c = Greater(x, z) e = Exp(x) a = Sub(e, two) y = Where(c, x, a)", ["Exp", "Greater", "Sub", "Where"]),
    ("elu that falls", 21, "r = Relu(x) e = Exp(x) a = Sub(one, e) b = Mul(a, t) c = Min(b, z) y = Add(r, c)", ["Add", "Exp", "Min", "Mul", "Relu", "Sub"]),
    ("hard swish shifted by two", 21, "a = Add(x, two) c = Clip(a, z, six) d = Mul(x, c) y = Div(d, six)", ["Add", "Clip", "Div", "Mul"]),
]  # fmt: skip


LINE = "<float eps = {1e-5}, int64[1] last = {-1}, int64[1] first = {1}, int64[2] pixels = {2,3}, int64[2] lasts = {1,2}, float two = {2.0}, float one = {1.0}, float half = {0.5}, float mhalf = {-0.5}, float[1] tiny = {1e-12}, float tiny0 = {1e-12}, float six = {6.0}, float eight = {8.0}, float zero = {0.0}, int64[2] flat = {-1,8}, int64[1] low = {0}, int64[1] high = {3}, int64[1] end = {9223372036854775807}, int64[3] unflat = {-1,1,8}, float lowest = {-inf}> "
ROWS = "g (float[N,8] x) => (float[N,8] y) " + LINE
SUMS = "g (float[N,6,8] x) => (float y) " + LINE
CUT = "a = Slice(x, low, high, first) b = Slice(x, high, end, first) "
REDUCTIONS = [
    ("sum of squares", SUMS, "q = Mul(x, x) y = ReduceSum<keepdims=0>(q, last)", ["ReduceSumSquare"]),
    ("norm", SUMS, "q = Pow(x, two) r = ReduceSum(q, last) y = Sqrt(r)", ["ReduceL2"]),
    ("sum of sizes", SUMS, "q = Abs(x) y = ReduceSum(q, last)", ["ReduceL1"]),
    ("log of sum of exp", SUMS, "q = Exp(x) r = ReduceSum(q, first) y = Log(r)", ["ReduceLogSumExp"]),
    ("log of sum", SUMS, "e = Sigmoid(x) r = ReduceSum(e, first) y = Log(r)", ["ReduceLogSum", "Sigmoid"]),
    ("mean", SUMS, "r = ReduceSum(x, first) y = Div(r, six)", ["ReduceMean"]),
    ("mean of means", SUMS, "r = ReduceMean<keepdims=0>(x, first) y = ReduceMean<keepdims=0>(r, last)", ["ReduceMean"]),
    ("sum of sums", SUMS, "r = ReduceSum(x, last) y = ReduceSum(r, first)", ["ReduceSum"]),
    ("dropped dims", SUMS, "r = ReduceMax(x, first) y = Reshape(r, flat)", ["ReduceMax"]),
    ("softmax", ROWS, "e = Exp(x) s = ReduceSum(e, last) y = Div(e, s)", ["Softmax"]),
    ("kept dims", SUMS, "r = ReduceMax<keepdims=0>(x, first) y = Reshape(r, unflat)", ["ReduceMax"]),
    ("softmax, dims put back", ROWS, "m = ReduceMax<keepdims=0>(x, last) f = Max(m, lowest) g = Unsqueeze(f, last) d = Sub(x, g) e = Exp(d) s = ReduceSum<keepdims=0>(e, last) t = Unsqueeze(s, last) y = Div(e, t)", ["Softmax"]),
    ("softmax, shifted", ROWS, "m = ReduceMax(x, last) d = Sub(x, m) e = Exp(d) s = ReduceSum(e, last) y = Div(e, s)", ["Softmax"]),
    ("softmax of rows", SUMS, "s = Shape(x) f = Flatten<axis=2>(x) p = Softmax<axis=-1>(f) y = Reshape(p, s)", ["Softmax"]),
    ("softmax of longer rows", SUMS, "s = Shape(x) f = Flatten<axis=1>(x) p = Softmax<axis=-1>(f) y = Reshape(p, s)", ["Reshape", "Reshape", "Softmax"]),
    ("softmax of rows of another shape", SUMS, "f = Flatten<axis=2>(x) p = Softmax<axis=-1>(f) y = Reshape(p, unflat)", ["Reshape", "Reshape", "Softmax"]),
    ("log softmax", ROWS, "s = Softmax(x) y = Log(s)", ["LogSoftmax"]),
    ("log softmax by sum", ROWS, "e = Exp(x) s = ReduceSum(e, last) l = Log(s) y = Sub(x, l)", ["LogSoftmax"]),
    ("log softmax, shifted", ROWS, "m = ReduceMax(x, last) d = Sub(x, m) e = Exp(d) s = ReduceSum(e, last) l = Log(s) y = Sub(d, l)", ["LogSoftmax"]),
    ("unit vectors", ROWS, "n = ReduceL2(x, last) c = Clip(n, tiny0) y = Div(x, c)", ["LpNormalization"]),
    ("unit vectors, expanded", ROWS, "n = ReduceL1(x, last) c = Max(n, tiny) s = Shape(x) e = Expand(c, s) y = Div(x, e)", ["LpNormalization"]),
    ("magnitude", SUMS, CUT + "p = Pow(a, two) q = Pow(b, two) s = Add(p, q) y = Sqrt(s)", ["ReduceL2", "Reshape"]),
    ("magnitude by products", SUMS, CUT + "p = Mul(a, a) q = Mul(b, b) s = Add(q, p) y = Sqrt(s)", ["ReduceL2", "Reshape"]),
    # what only looks like one
    ("no magnitude: one half twice", SUMS, CUT.replace("high, end", "low, high") + "p = Pow(a, two) q = Mul(b, b) s = Add(q, p) y = Sqrt(s)", ["Add", "Mul", "Pow", "Slice", "Sqrt"]),
    ("no magnitude: cubes", SUMS, CUT + "p = Pow(a, six) q = Pow(b, six) s = Add(q, p) y = Sqrt(s)", ["Add", "Pow", "Pow", "Split", "Sqrt"]),
    ("no norm: read twice", "g (float[N,6,8] x) => (float y, float z) " + LINE, "q = Mul(x, x) y = ReduceSum(q, last) z = Exp(q)", ["Exp", "Mul", "ReduceSum"]),
    ("no mean: another number", SUMS, "r = ReduceSum(x, last) y = Div(r, six)", ["Div", "ReduceSum"]),
    ("no softmax: other axis", "g (float[N,6,8] x) => (float y) " + LINE, "m = ReduceMax(x, first) d = Sub(x, m) e = Exp(d) s = ReduceSum(e, last) y = Div(e, s)", ["ReduceMax", "Softmax", "Sub"]),
    ("no softmax: an output inside", "g (float[N,8] x) => (float y, float s) " + LINE, "e = Exp(x) s = ReduceSum(e, last) y = Div(e, s)", ["Div", "Exp", "ReduceSum"]),
    ("no softmax: two axes", SUMS, "e = Exp(x) s = ReduceSum(e, lasts) y = Div(e, s)", ["Div", "Exp", "ReduceSum"]),
    ("no unit vectors: not clamped", ROWS, "n = ReduceL2(x, last) y = Div(x, n)", ["Div", "ReduceL2"]),
    ("no unit vectors: clamped far off", ROWS, "n = ReduceL2(x, last) c = Max(n, half) y = Div(x, c)", ["Div", "Max", "ReduceL2"]),
]  # fmt: skip


TOKENS, PLANES = "g (float[N,6,8] x) => (float[N,6,8] y) " + LINE, "g (float[N,6,5,8] x) => (float[N,6,5,8] y) " + LINE
MEAN = "m = ReduceMean(x, last) d = Sub(x, m) q = Pow(d, two) v = ReduceMean(q, last) a = Add(v, eps) r = Sqrt(a) "
FAST = "m = ReduceMean(x, last) q = Mul(x, x) e = ReduceMean(q, last) f = Mul(m, m) v = Sub(e, f) g = Relu(v) a = Add(g, eps) r = Sqrt(a) d = Sub(x, m) "
FAST_FLAT = "m = ReduceMean<keepdims=0>(x, last) q = Mul(x, x) s = ReduceSum<keepdims=0>(q, last) e = Div(s, eight) f = Mul(m, m) v = Sub(e, f) g = Max(v, zero) h = Unsqueeze(g, last) a = Add(h, eps) r = Sqrt(a) o = Unsqueeze(m, last) d = Sub(x, o) "
SQUARE = "q = Pow(x, two) v = ReduceMean(q, last) a = Add(v, eps) r = Sqrt(a) "
SPOTS = MEAN.replace("last", "pixels")
GROUPED = "p = Reshape(x, split) i = InstanceNormalization(p, ones, zeros) u = Shape(x) t = Reshape(i, u) "
GROUPS = LINE.replace("> ", ", int64[3] split = {0,2,-1}, float[2] ones = {1.0,1.0}, float[2] zeros = {0.0,0.0}> ")
NORMS = [
    ("layer norm", 17, TOKENS, MEAN + "n = Div(d, r) k = Mul(n, w) y = Add(k, b)", {"w": (8,), "b": (8,)}, ["LayerNormalization"]),
    ("layer norm, factor first", 17, TOKENS, MEAN + "n = Div(d, r) k = Mul(w, n) y = Add(b, k)", {"w": (8,), "b": (1, 1, 8)}, ["LayerNormalization"]),
    ("layer norm by product", 17, TOKENS, MEAN.replace("Pow(d, two)", "Mul(d, d)") + "i = Reciprocal(r) n = Mul(d, i) y = Mul(n, w)", {"w": (8,)}, ["LayerNormalization"]),
    ("layer norm by Pow", 17, TOKENS, MEAN.replace("Sqrt(a)", "Pow(a, mhalf)") + "n = Mul(d, r) y = Add(n, b)", {"b": (8,)}, ["LayerNormalization"]),
    ("layer norm alone", 17, TOKENS, MEAN + "y = Div(d, r)", {}, ["LayerNormalization"]),
    ("layer norm, folded", 17, TOKENS, MEAN + "i = Reciprocal(r) f = Mul(i, w) k = Mul(x, f) l = Mul(m, f) o = Sub(b, l) y = Add(k, o)", {"w": (8,), "b": (8,)}, ["LayerNormalization"]),
    ("layer norm of matrices", 17, TOKENS, MEAN.replace("last", "lasts") + "n = Div(d, r) k = Mul(n, w) y = Add(k, b)", {"w": (6, 8), "b": (6, 8)}, ["LayerNormalization"]),
    ("layer norm, factor per row", 17, TOKENS, MEAN.replace("last", "lasts") + "n = Div(d, r) y = Mul(n, w)", {"w": (6, 1)}, ["LayerNormalization"]),
    ("layer norm, factor of an outer axis", 17, PLANES, MEAN + "n = Div(d, r) y = Mul(n, w)", {"w": (6, 1, 1)}, ["LayerNormalization", "Mul"]),
    ("layer norm and a residual", 17, TOKENS, MEAN + "n = Div(d, r) k = Mul(n, w) c = Add(k, b) y = Add(c, x)", {"w": (8,), "b": (8,)}, ["Add", "LayerNormalization"]),
    ("layer norm, factor of an input", 17, "g (float[N,6,8] x, float[N,1,8] w) => (float[N,6,8] y) " + LINE, MEAN + "n = Div(d, r) y = Mul(n, w)", {}, ["LayerNormalization", "Mul"]),
    ("layer norm by squares", 17, TOKENS, FAST + "n = Div(d, r) k = Mul(n, w) y = Add(k, b)", {"w": (8,), "b": (8,)}, ["LayerNormalization"]),
    ("layer norm by squares, dims put back", 17, TOKENS, FAST_FLAT + "n = Div(w, r) k = Mul(d, n) y = Add(k, b)", {"w": (8,), "b": (8,)}, ["LayerNormalization"]),
    ("layer norm below its opset", 16, TOKENS, MEAN + "y = Div(d, r)", {}, ["Add", "Div", "Pow", "ReduceMean", "ReduceMean", "Sqrt", "Sub"]),
    ("rms norm", 23, TOKENS, SQUARE + "n = Div(x, r) y = Mul(n, w)", {"w": (8,)}, ["RMSNormalization"]),
    ("rms norm by product", 23, TOKENS, SQUARE.replace("Pow(x, two)", "Mul(x, x)") + "i = Div(one, r) n = Mul(x, i) y = Mul(w, n)", {"w": (8,)}, ["RMSNormalization"]),
    ("rms norm and a bias", 23, TOKENS, SQUARE + "n = Div(x, r) k = Mul(n, w) y = Add(k, b)", {"w": (8,), "b": (8,)}, ["Add", "RMSNormalization"]),
    ("rms norm below its opset", 22, TOKENS, SQUARE + "y = Div(x, r)", {}, ["Add", "Div", "Pow", "ReduceMean", "Sqrt"]),
    ("instance norm", 21, PLANES, SPOTS + "n = Div(d, r) k = Mul(n, w) y = Add(k, b)", {"w": (6, 1, 1), "b": (1, 6, 1, 1)}, ["InstanceNormalization"]),
    ("instance norm alone", 21, PLANES, SPOTS + "y = Div(d, r)", {}, ["InstanceNormalization"]),
    ("instance norm by pooling", 21, PLANES, SPOTS.replace("ReduceMean(x, pixels)", "GlobalAveragePool(x)") + "n = Div(d, r) y = Mul(n, w)", {"w": (6, 1, 1)}, ["InstanceNormalization"]),
    ("instance norm takes a factor", 21, PLANES, "n = InstanceNormalization(x, c, c) k = Mul(n, w) y = Add(k, b)", {"c": (6,), "w": (6, 1, 1), "b": (6, 1, 1)}, ["InstanceNormalization"]),
    ("group norm", 21, PLANES.replace(LINE, GROUPS), GROUPED + "k = Mul(t, w) y = Add(k, b)", {"w": (6, 1, 1), "b": (6, 1, 1)}, ["GroupNormalization"]),
    ("group norm with scales of groups", 21, PLANES.replace(LINE, GROUPS), GROUPED.replace("ones, zeros", "o, z") + "y = Mul(t, w)", {"o": (2,), "z": (2,), "w": (6, 1, 1)}, ["GroupNormalization"]),
    ("group norm, written out", 21, PLANES.replace(LINE, GROUPS), "p = Reshape(x, split) " + MEAN.replace("x", "p") + "n = Div(d, r) u = Shape(x) t = Reshape(n, u) y = Mul(t, w)", {"w": (6, 1, 1)}, ["GroupNormalization"]),
    ("group norm below its opset", 20, PLANES.replace(LINE, GROUPS), GROUPED + "y = Mul(t, w)", {"w": (6, 1, 1)}, ["InstanceNormalization", "Mul", "Reshape", "Reshape"]),
    # what only looks like one
    ("other axes", 17, TOKENS, MEAN.replace("(q, last)", "(q, first)") + "y = Div(d, r)", {}, ["Add", "Div", "Pow", "ReduceMean", "ReduceMean", "Sqrt", "Sub"]),
    ("an axis that is not last", 17, TOKENS, MEAN.replace("last", "first") + "y = Div(d, r)", {}, ["Add", "Div", "Pow", "ReduceMean", "ReduceMean", "Sqrt", "Sub"]),
    ("another power", 17, TOKENS, MEAN.replace("Pow(d, two)", "Pow(d, six)") + "y = Div(d, r)", {}, ["Add", "Div", "Pow", "ReduceMean", "ReduceMean", "Sqrt", "Sub"]),
    ("a mean of something else", 17, TOKENS, "z = Exp(x) " + MEAN.replace("ReduceMean(x", "ReduceMean(z") + "y = Div(d, r)", {}, ["Add", "Div", "Exp", "Pow", "ReduceMean", "ReduceMean", "Sqrt", "Sub"]),
    ("the deviation read elsewhere", 17, TOKENS.replace("] y)", "] y, float[N,6,8] z)"), MEAN + "y = Div(d, r) z = Exp(d)", {}, ["Add", "Div", "Exp", "Pow", "ReduceMean", "ReduceMean", "Sqrt", "Sub"]),
    ("the spread an output", 17, TOKENS.replace("] y)", "] y, float[N,6,1] r)"), MEAN + "y = Div(d, r)", {}, ["Add", "Div", "Pow", "ReduceMean", "ReduceMean", "Sqrt", "Sub"]),
    ("a factor that widens", 17, "g (float[1,1,8] x) => (float[1,6,8] y) " + LINE, MEAN + "n = Div(d, r) y = Mul(n, w)", {"w": (6, 8)}, ["LayerNormalization", "Mul"]),
]  # fmt: skip
