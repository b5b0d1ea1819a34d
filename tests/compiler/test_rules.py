"""Each rule: the graph before, the ops after, and equal outputs in the oracle."""

# ruff: noqa: E501 (a graph is easiest to read in one line)

from __future__ import annotations

import pytest
from rule_cases import assert_equal, assert_rule, build, ops, simplified

from effc.compiler import oracle, phase
from effc.compiler.metrics import sqnr_db
from effc.compiler.passes import SIMPLIFY, fold

BN = {"g": (4,), "b": (4,), "m": (4,), "v": (4,)}
IMAGE = "g (float[N,3,8,8] x) => (float[N,C,H,W] y)"
RULES = [
    # canonicalize
    ("constant", "g (float[N,2] x) => (float[N,2] y) { c = Constant <value_floats=[1.0,2.0]> () y = Add(x, c) }", {}, ["Add"]),
    ("identity", "g (float[N,2] x) => (float[N,2] y) { a = Identity(x) y = Relu(a) }", {}, ["Relu"]),
    ("identity at the output", "g (float[N,2] x) => (float[N,2] y) { a = Relu(x) y = Identity(a) }", {}, ["Relu"]),
    ("identity from in to out", "g (float[N,2] x) => (float[N,2] y) { y = Identity(x) }", {}, ["Identity"]),
    ("one tensor, two outputs", "g (float[N,2] x) => (float[N,2] y, float[N,2] z) { y = Relu(x) z = Identity(y) }", {}, ["Relu", "Identity"]),
    ("dropout", "g (float[N,2] x) => (float[N,2] y) { a = Dropout(x) y = Relu(a) }", {}, ["Relu"]),
    ("dropout mask read", "g (float[N,2] x) => (float[N,2] y, bool[N,2] z) { y, z = Dropout(x) }", {}, ["Dropout"]),
    ("cast to own type", "g (float[N,2] x) => (float[N,2] y) { a = Cast<to=1>(x) y = Relu(a) }", {}, ["Relu"]),
    ("cast to another type", "g (float[N,2] x) => (int32[N,2] y) { y = Cast<to=6>(x) }", {}, ["Cast"]),
    ("transpose by nothing", "g (float[N,2] x) => (float[N,2] y) { a = Transpose<perm=[0,1]>(x) y = Relu(a) }", {}, ["Relu"]),
    ("tile by nothing", "g (float[N,2] x) => (float[A,2] y) <int64[2] r = {1,1}> { a = Tile(x, r) y = Relu(a) }", {}, ["Relu"]),
    ("tile along one axis", "g (float[N,2] x) => (float[A,2] y) <int64[2] r = {2,1}> { a = Tile(x, r) y = Relu(a) }", {}, ["Tile", "Relu"]),
    ("pad by nothing", "g (float[N,2] x) => (float[N,2] y) <int64[4] p = {0,0,0,0}> { a = Pad(x, p) y = Relu(a) }", {}, ["Relu"]),
    ("split of nothing", "g (float[N,2] x) => (float[N,2] y) <int64[2] s = {2,0}> { a, b = Split<axis=1>(x, s) c = Concat<axis=1>(a, b) y = Relu(c) }", {}, ["Relu"]),
    ("split into parts", "g (float[N,2] x) => (float[N,1] y) <int64[2] s = {1,1}> { a, b = Split<axis=1>(x, s) y = Relu(a) }", {}, ["Split", "Relu"]),
    ("cast to a value's type", "g (float16[N,2] x) => (float[N,2] y) <float[2] c = {1.0,2.0}> { a = CastLike(x, c) y = Relu(a) }", {}, ["Cast", "Relu"]),
    ("constant of a value's type", "g (float[N,2] x) => (float[N,2] y) <int64 c = {2}> { a = CastLike(c, x) y = Mul(x, a) }", {}, ["Mul"]),
    ("concat of one", "g (float[N,2] x) => (float[N,2] y) { a = Concat<axis=1>(x) y = Relu(a) }", {}, ["Relu"]),
    ("slice of all", "g (float[N,2] x) => (float[N,2] y) <int64[2] s = {0,0}, int64[2] e = {9223372036854775807,2}> { a = Slice(x, s, e) y = Relu(a) }", {}, ["Relu"]),
    ("slice of some", "g (float[N,4] x) => (float[N,3] y) <int64[1] s = {1}, int64[1] e = {4}, int64[1] a = {1}> { y = Slice(x, s, e, a) }", {}, ["Slice"]),
    ("slice of an open dim", "g (float[N,4] x) => (float[M,4] y) <int64[1] s = {0}, int64[1] e = {1}, int64[1] a = {0}> { y = Slice(x, s, e, a) }", {}, ["Slice"]),
    ("times one", "g (float[N,2] x) => (float[N,2] y) <float c = {1.0}> { a = Mul(c, x) y = Relu(a) }", {}, ["Relu"]),
    ("one that widens", "g (float[1,2] x) => (float[3,2] y) <float[3,1] c = {1.0,1.0,1.0}> { y = Mul(x, c) }", {}, ["Mul"]),
    ("plus zero", "g (float[N,2] x) => (float[N,2] y) <float[1] c = {0.0}> { a = Add(x, c) y = Relu(a) }", {}, ["Relu"]),
    ("flatten", "g (float[N,2,3] x) => (float[N,6] y) { y = Flatten<axis=1>(x) }", {}, ["Reshape"]),
    ("squeeze and back", "g (float[N,2,1] x) => (float[N,2,1] y) <int64[1] a = {2}> { s = Squeeze(x, a) r = Unsqueeze(s, a) y = Relu(r) }", {}, ["Relu"]),
    ("reshape by shape", "g (float[N,2,3] x) => (float[N,6] y) <int64 i = {0}, int64[1] a = {0}, int64[1] w = {6}> { s = Shape(x) d = Gather<axis=0>(s, i) u = Unsqueeze(d, a) t = Concat<axis=0>(u, w) y = Reshape(x, t) }", {}, ["Reshape"]),
    ("reshape by shape and -1", "g (float[N,2,3] x) => (float[N,6] y) <int64[1] i = {0}, int64[1] j = {1}, int64[1] w = {-1}> { s = Shape(x) d = Slice(s, i, j) t = Concat<axis=0>(d, w) y = Reshape(x, t) }", {}, ["Reshape"]),
    ("expand by shape", "g (float[N,1] x) => (float[N,4] y) <int64[1] w = {4}> { s = Shape<end=1>(x) t = Concat<axis=0>(s, w) y = Expand(x, t) }", {}, ["Expand"]),
    # fold and clean up
    ("constants", "g (float[N,2] x) => (float[N,2] y) <float[2] a = {1.0,2.0}, float[2] b = {3.0,4.0}> { c = Add(a, b) d = Sqrt(c) y = Mul(x, d) }", {}, ["Mul"]),
    ("range", "g (float[N,4] x) => (float[N,4] y) <float a = {0.0}, float b = {4.0}, float c = {1.0}> { r = Range(a, b, c) y = Add(x, r) }", {}, ["Add"]),
    ("constant of shape", "g (float[N,4] x) => (float[N,4] y) <int64[1] s = {4}> { r = ConstantOfShape<value = float[1] {2.0}>(s) y = Add(x, r) }", {}, ["Add"]),
    ("static shape", "g (float[2,4] x) => (int64[2] y, float[2,4] z) { s = Shape(x) y = Neg(s) z = Relu(x) }", {}, ["Identity", "Relu"]),
    ("subexpressions", "g (float[N,2] x) => (float[N,2] y) { a = Relu(x) b = Relu(x) y = Add(a, b) }", {}, ["Relu", "Add"]),
    ("dead code", "g (float[N,2] x) => (float[N,2] y) { a = Sigmoid(x) b = Exp(a) y = Relu(x) }", {}, ["Relu"]),
    # fuse
    ("conv, bn", IMAGE + " { c = Conv(x, w) y = BatchNormalization(c, g, b, m, v) }", {"w": (4, 3, 3, 3), **BN}, ["Conv"]),
    ("conv with bias, bn", IMAGE + " { c = Conv(x, w, k) y = BatchNormalization(c, g, b, m, v) }", {"w": (4, 3, 3, 3), "k": (4,), **BN}, ["Conv"]),
    ("conv read twice, bn", "g (float[N,3,8,8] x) => (float[N,C,H,W] y, float[N,D,E,F] z) { c = Conv(x, w) y = BatchNormalization(c, g, b, m, v) z = Relu(c) }", {"w": (4, 3, 3, 3), **BN}, ["Conv", "BatchNormalization", "Relu"]),
    ("transposed conv, bn", IMAGE + " { c = ConvTranspose<strides=[2,2]>(x, w) y = BatchNormalization(c, g, b, m, v) }", {"w": (3, 4, 2, 2), **BN}, ["ConvTranspose"]),
    ("grouped transposed conv, bn", "g (float[N,6,4,4] x) => (float[N,C,H,W] y) { c = ConvTranspose<group=2>(x, w) y = BatchNormalization(c, g, b, m, v) }", {"w": (6, 2, 2, 2), **BN}, ["ConvTranspose"]),
    ("gemm, bn", "g (float[N,3] x) => (float[N,4] y) { c = Gemm<alpha=0.5,beta=2.0>(x, w, k) y = BatchNormalization(c, g, b, m, v) }", {"w": (3, 4), "k": (4,), **BN}, ["Gemm"]),
    ("gemm transposed, bn", "g (float[N,3] x) => (float[N,4] y) { c = Gemm<transB=1>(x, w) y = BatchNormalization(c, g, b, m, v) }", {"w": (4, 3), **BN}, ["Gemm"]),
    ("matmul, bn", "g (float[N,3] x) => (float[N,4] y) { c = MatMul(x, w) y = BatchNormalization(c, g, b, m, v) }", {"w": (3, 4), **BN}, ["Gemm"]),
    ("matmul of a batch, bn", "g (float[N,4,3] x) => (float[N,4,5] y) { c = MatMul(x, w) y = BatchNormalization(c, g, b, m, v) }", {"w": (3, 5), **BN}, ["MatMul", "BatchNormalization"]),
    ("conv, mul, add", IMAGE + " { c = Conv(x, w) d = Mul(c, s) y = Add(d, t) }", {"w": (4, 3, 3, 3), "s": (4, 1, 1), "t": (1, 4, 1, 1)}, ["Conv"]),
    ("conv, div, sub by one number", IMAGE + " { c = Conv(x, w) d = Div(c, s) y = Sub(d, t) }", {"w": (4, 3, 3, 3), "s": (), "t": (1,)}, ["Conv"]),
    ("conv, add per column", IMAGE + " { c = Conv(x, w) y = Add(c, t) }", {"w": (4, 3, 3, 3), "t": (6,)}, ["Conv", "Add"]),
    ("matmul, add of a column", "g (float[4,3] x) => (float[4,4] y) { c = MatMul(x, w) y = Add(c, t) }", {"w": (3, 4), "t": (4, 1)}, ["MatMul", "Add"]),
    ("matmul, add that widens", "g (float[1,3] x) => (float[4,4] y) { c = MatMul(x, w) y = Add(c, t) }", {"w": (3, 4), "t": (4, 1)}, ["MatMul", "Add"]),
    ("gemm with a column, mul", "g (float[4,3] x) => (float[4,4] y) { c = Gemm(x, w, k) y = Mul(c, t) }", {"w": (3, 4), "k": (4, 1), "t": (4,)}, ["Gemm", "Mul"]),
    ("matmul, add", "g (float[N,3] x) => (float[N,4] y) { c = MatMul(x, w) y = Add(c, t) }", {"w": (3, 4), "t": (4,)}, ["Gemm"]),
    ("matmul of rank 3, add", "g (float[N,2,3] x) => (float[N,2,4] y) { c = MatMul(x, w) y = Add(c, t) }", {"w": (3, 4), "t": (4,)}, ["MatMul", "Add"]),
    ("pad, conv", IMAGE + " <int64[8] p = {0,0,1,0,0,0,2,1}> { c = Pad(x, p) y = Conv<pads=[1,1,0,0]>(c, w) }", {"w": (4, 3, 3, 3)}, ["Conv"]),
    ("reflecting pad, conv", IMAGE + ' <int64[8] p = {0,0,1,1,0,0,1,1}> { c = Pad<mode="reflect">(x, p) y = Conv(c, w) }', {"w": (4, 3, 3, 3)}, ["Pad", "Conv"]),
    ("channel pad, conv", IMAGE + " <int64[8] p = {0,0,0,0,0,1,0,0}> { c = Pad(x, p) y = Conv(c, w) }", {"w": (4, 4, 3, 3)}, ["Pad", "Conv"]),
    ("pad of one, conv", IMAGE + " <int64[8] p = {0,0,1,1,0,0,1,1}, float o = {1.0}> { c = Pad(x, p, o) y = Conv(c, w) }", {"w": (4, 3, 3, 3)}, ["Pad", "Conv"]),
    ("pad, average pool", IMAGE + " <int64[4] p = {1,1,1,1}, int64[2] a = {2,3}, float o = {0.0}> { c = Pad(x, p, o, a) y = AveragePool<kernel_shape=[3,3]>(c) }", {}, ["AveragePool"]),
    ("pad, max pool", IMAGE + " <int64[8] p = {0,0,1,1,0,0,1,1}> { c = Pad(x, p) y = MaxPool<kernel_shape=[3,3]>(c) }", {}, ["Pad", "MaxPool"]),
    ("lowest pad, max pool", IMAGE + " <int64[8] p = {0,0,1,1,0,0,1,1}, float o = {-3.4028234663852886e38}> { c = Pad(x, p, o) y = MaxPool<kernel_shape=[3,3]>(c) }", {}, ["MaxPool"]),
    ("hard swish", "g (float[N,8] x) => (float[N,8] y) { s = HardSigmoid<alpha=0.16666667,beta=0.5>(x) y = Mul(s, x) }", {}, ["HardSwish"]),
    ("another hard sigmoid", "g (float[N,8] x) => (float[N,8] y) { s = HardSigmoid<alpha=0.2,beta=0.5>(x) y = Mul(x, s) }", {}, ["HardSigmoid", "Mul"]),
    ("hard swish in four", "g (float[N,8] x) => (float[N,8] y) <float t = {3.0}, float l = {0.0}, float h = {6.0}> { a = Add(x, t) c = Clip(a, l, h) m = Mul(x, c) y = Div(m, h) }", {}, ["HardSwish"]),
    ("hard swish before a factor", "g (float[N,8] x) => (float[N,8] y) <float t = {3.0}, float l = {0.0}, float h = {6.0}, float s = {0.3}> { a = Add(x, t) c = Clip(a, l, h) m = Mul(x, c) d = Div(m, h) y = Mul(d, s) }", {}, ["HardSwish", "Mul"]),
    ("hard swish in four, gated", "g (float[N,8] x) => (float[N,8] y) <float t = {3.0}, float l = {0.0}, float h = {6.0}> { a = Add(t, x) c = Clip(a, l, h) d = Div(c, h) y = Mul(d, x) }", {}, ["HardSwish"]),
    ("shifted by two", "g (float[N,8] x) => (float[N,8] y) <float t = {2.0}, float l = {0.0}, float h = {6.0}> { a = Add(x, t) c = Clip(a, l, h) m = Mul(x, c) y = Div(m, h) }", {}, ["Add", "Clip", "Mul", "Div"]),
    ("relu, relu", "g (float[N,8] x) => (float[N,8] y) { a = Relu(x) y = Relu(a) }", {}, ["Relu"]),
    ("relu, clip", "g (float[N,8] x) => (float[N,8] y) <float l = {-1.0}, float h = {0.5}> { a = Relu(x) y = Clip(a, l, h) }", {}, ["Clip"]),
    ("clip, relu", "g (float[N,8] x) => (float[N,8] y) <float l = {-1.0}, float h = {0.5}> { a = Clip(x, l, h) y = Relu(a) }", {}, ["Clip"]),
    ("clip, clip apart", "g (float[N,8] x) => (float[N,8] y) <float a = {-2.0}, float b = {-1.0}, float c = {0.0}, float d = {1.0}> { e = Clip(x, a, b) f = Clip(e, c, d) y = Add(f, x) }", {}, ["Clip", "Add"]),
    ("clip at zero", "g (float[N,8] x) => (float[N,8] y) <float l = {0.0}> { y = Clip(x, l) }", {}, ["Relu"]),
    # transposes
    ("transposes cancel", "g (float[N,2,3] x) => (float[N,2,3] y) { a = Transpose<perm=[0,2,1]>(x) b = Transpose<perm=[0,2,1]>(a) y = Relu(b) }", {}, ["Relu"]),
    ("transposes compose", "g (float[N,2,3] x) => (float[A,B,C] y) { a = Transpose<perm=[1,2,0]>(x) y = Transpose<perm=[1,0,2]>(a) }", {}, ["Transpose"]),
    ("transposes around relu", "g (float[N,2,3] x) => (float[N,2,3] y) { a = Transpose<perm=[0,2,1]>(x) b = Relu(a) y = Transpose<perm=[0,2,1]>(b) }", {}, ["Relu"]),
    ("transposes around a diamond", "g (float[N,2,3] x, float[N,2,3] z) => (float[N,2,3] y) { a = Transpose<perm=[0,2,1]>(x) b = Transpose<perm=[0,2,1]>(z) c = Add(a, b) d = Mul(c, s) y = Transpose<perm=[0,2,1]>(d) }", {"s": (2,)}, ["Add", "Mul"]),
    ("transposes around a read tensor", "g (float[N,2,3] x) => (float[N,2,3] y, float[A,B,C] z) { a = Transpose<perm=[0,2,1]>(x) b = Relu(a) y = Transpose<perm=[0,2,1]>(b) z = Exp(b) }", {}, ["Transpose", "Relu", "Exp"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "weights", "after"), [row[1:] for row in RULES], ids=[row[0] for row in RULES])
def test_rule(text: str, weights: dict[str, tuple[int, ...]], after: list[str]) -> None:
    assert_rule(text, weights, after)


WINDOWS = [
    ("Conv<auto_pad={mode}, strides=[2,2]>(x, w)", {"w": (4, 3, 3, 3)}),
    ("Conv<auto_pad={mode}, dilations=[2,1]>(x, w)", {"w": (4, 3, 3, 2)}),
    ("MaxPool<auto_pad={mode}, kernel_shape=[3,2], strides=[2,3]>(x)", {}),
    ("AveragePool<auto_pad={mode}, kernel_shape=[4,2], strides=[3,1]>(x)", {}),
    ("ConvTranspose<auto_pad={mode}, strides=[2,2]>(x, w)", {"w": (3, 4, 3, 3)}),
    ("ConvTranspose<auto_pad={mode}, strides=[2,2], output_shape=[18,13]>(x, w)", {"w": (3, 4, 3, 3)}),
]


@pytest.mark.parametrize("mode", ['"SAME_UPPER"', '"SAME_LOWER"', '"VALID"'])
@pytest.mark.parametrize(("call", "weights"), WINDOWS)
def test_windows_become_explicit(call: str, weights: dict[str, tuple[int, ...]], mode: str) -> None:
    proto = build(f"g (float[N,3,9,7] x) => (float[N,C,H,W] y) {{ y = {call.replace('{mode}', mode)} }}", weights)
    model = simplified(proto)
    (node,) = model.graph
    assert "auto_pad" not in node.attributes
    assert {"kernel_shape", "strides", "pads"} <= node.attributes.keys()
    assert_equal(proto, model)


def test_equal_weights_are_shared() -> None:
    text = "g (float[N,2] x) => (float[N,2] y) <float[2] a = {1.0,2.0}, float[2] b = {1.0,2.0}> { c = Mul(x, a) y = Sub(c, b) }"
    model = simplified(build(text, {}))
    assert len(model.graph.initializers) == 1


def test_large_constants_of_one_value_take_no_memory() -> None:
    text = "g (float[N,2] x) => (float[4096,4096] y) <int64[2] s = {4096,4096}> { z = ConstantOfShape(s) t = ReduceSum(x) y = Add(z, t) }"
    model = simplified(build(text, {}))
    assert "ConstantOfShape" not in ops(model)
    assert fold.stored_bytes(model) < 1000


def test_interface_stays() -> None:
    proto = build("g (float[N,2] b, int32[N] a) => (int32[N] q, float[N,2] p) { p = Identity(b) q = Identity(a) }", {})
    model = simplified(proto)
    assert [v.name for v in model.graph.inputs] == ["b", "a"]
    assert [v.name for v in model.graph.outputs] == ["q", "p"]


def test_names_keep_their_values() -> None:
    """A tensor that is in both graphs under one name holds the same values."""
    text = (
        IMAGE
        + " { c = Conv(x, w) n = BatchNormalization(c, g, b, m, v) r = Relu(n) t = Transpose<perm=[0,2,3,1]>(r) u = Exp(t) y = Transpose<perm=[0,3,1,2]>(u) }"
    )
    proto = build(text, {"w": (4, 3, 3, 3), **BN})
    model = simplified(proto)
    before = {name for node in proto.graph.node for name in node.output}
    shared = sorted(before & {v.name for node in model.graph for v in node.outputs})
    assert shared
    feeds = oracle.seeded_feeds(proto, 0)
    a, b = oracle.Session(proto, outputs=shared).run(feeds), oracle.Session(model, outputs=shared).run(feeds)
    assert all(sqnr_db(a[name], b[name]) > 110 for name in shared)


QAT = """g (float[N,3,8,8] x) => (float[N,C,H,W] y)
<float s = {0.05}, int8 z = {0}, float[4] ws = {0.01,0.02,0.03,0.04}, int8[4] wz = {0,0,0,0}, int8[4,3,1,1] wq = {1,2,3,4,5,6,7,8,9,10,11,12}>
{ q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) w = DequantizeLinear<axis=0>(wq, ws, wz)
  i = Identity(d) c = Conv(i, w) r = Relu(c) p = QuantizeLinear(r, s, z) y = DequantizeLinear(p, s, z) }"""


def test_quantization_in_the_input_is_kept() -> None:
    proto = build(QAT, {})
    model = simplified(proto)
    assert sorted(ops(model)) == sorted(
        ["QuantizeLinear", "DequantizeLinear"] * 2 + ["DequantizeLinear", "Conv", "Relu"]
    )
    assert_equal(proto, model, least=200.0)


def test_a_second_run_changes_nothing() -> None:
    model = simplified(build(QAT, {}))
    assert phase.run(model, SIMPLIFY) == ()


def test_doubled_shapes_take_no_time() -> None:
    """40 times s + s is looked at once each, not 2 ** 40 times."""
    doubled = " ".join(f"s{i + 1} = Add(s{i}, s{i})" for i in range(40))
    text = f"g (float[N,M] x) => (int64[2] y) {{ s0 = Shape(x) {doubled} y = Neg(s40) }}"
    assert ops(simplified(build(text, {}))).count("Add") == 40
