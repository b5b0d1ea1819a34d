"""Rules for symbolic shapes, branches, factors and rows, as `effc simplify` runs them."""

# ruff: noqa: E501 (a graph is easiest to read in one line)

from __future__ import annotations

import numpy as np
import pytest
from rule_cases import assert_equal, assert_rule, build, ops, simplified

from effc.compiler import ir, oracle
from effc.compiler.passes import simplification, symbols

IMAGE = "g (float[N,4,8,8] x) => (float[N,C,H,W] y)"
BN = {"g": (4,), "b": (4,), "m": (4,), "v": (4,)}
BRANCHES = "then_branch = t () => (float[N,2] p) { p = Relu(x) }, else_branch = e () => (float[N,2] q) { q = Exp(x) }"
RULES = [
    # shapes
    ("unsqueeze, squeeze", "g (float[A,B,C] x) => (float[A,B,C] y, float[A,B,C] z) <int64[1] i = {1}, int64[1] j = {-3}> { a = Unsqueeze(x, i) y = Squeeze(a, j) r = Relu(x) b = Unsqueeze(r, i) c = Squeeze(b, i) z = Neg(c) }", {}, ["Identity", "Relu", "Neg"]),
    ("squeeze, unsqueeze", "g (float[A,1,C] x) => (float[A,1,C] y) <int64[1] i = {1}> { a = Squeeze(x, i) b = Unsqueeze(a, i) y = Neg(b) }", {}, ["Neg"]),
    ("squeeze, unsqueeze elsewhere", "g (float[A,1,C] x) => (float[1,A,C] y) <int64[1] i = {1}, int64[1] j = {0}> { a = Squeeze(x, i) y = Unsqueeze(a, j) }", {}, ["Squeeze", "Unsqueeze"]),
    ("unsqueeze, less squeeze", "g (float[A,B,C] x) => (float[A,B,1,C] y) <int64[2] i = {1,3}, int64[1] j = {1}> { a = Unsqueeze(x, i) y = Squeeze(a, j) }", {}, ["Unsqueeze"]),
    ("unsqueeze, more squeeze", "g (float[A,B,1] x) => (float[A,B] y) <int64[1] i = {1}, int64[2] j = {1,3}> { a = Unsqueeze(x, i) y = Squeeze(a, j) }", {}, ["Squeeze"]),
    ("unsqueeze, unsqueeze", "g (float[A,B,C] x) => (float[A,1,1,B,1,C] y) <int64[2] i = {1,3}, int64[1] j = {1}> { a = Unsqueeze(x, i) y = Unsqueeze(a, j) }", {}, ["Unsqueeze"]),
    ("squeeze, squeeze", "g (float[A,1,B,1,C] x) => (float[A,B,C] y) <int64[1] i = {1}, int64[1] j = {2}> { a = Squeeze(x, i) y = Squeeze(a, j) }", {}, ["Squeeze"]),
    ("copies of all dims but one", "g (float[A,B,C] x) => (float[A,B,C] y) <int64[3] s = {0,-1,0}> { a = Reshape(x, s) y = Neg(a) }", {}, ["Neg"]),
    ("sizes as booleans", "g (float[5,N] x) => (int64[2] y, float[5,N] z) { s = Shape(x) b = Cast<to=9>(s) y = Cast<to=7>(b) z = Relu(x) }", {}, ["Shape", "Cast", "Cast", "Relu"]),
    ("a size as a boolean", "g (float[5,N] x) => (int64 y, float[5,N] z) <int64 i = {0}> { s = Shape(x) b = Cast<to=9>(s) c = Cast<to=7>(b) y = Gather(c, i) z = Relu(x) }", {}, ["Relu"]),
    ("sizes that wrap", "g (float[5,N] x) => (int64 y) <int64 i = {0}, int64[1] k = {4294967297}> { s = Shape(x) m = Mul(s, k) b = Cast<to=6>(m) c = Cast<to=7>(b) y = Gather(c, i) }", {}, ["Shape", "Mul", "Cast", "Cast", "Gather"]),
    ("sums that wrap", "g (float[5,N] x) => (int32 y) <int64 i = {0}, int32[1] k = {2147483647}> { s = Shape(x) b = Cast<to=6>(s) m = Add(b, k) y = Gather(m, i) }", {}, ["Shape", "Cast", "Add", "Gather"]),
    ("large quotients", "g (float[N,2] x) => (int64[2] y, float[N,2] z) <int64[2] a = {9007199254740993,-7}, int64[2] b = {1,2}> { y = Div(a, b) z = Relu(x) }", {}, ["Relu"]),
    # outputs that are constants or second names
    ("a constant output", "g (float[N,2] x) => (float[2] y, float[2] z, float[N,2] r) <float[2] a = {1.0,2.0}> { y = Add(a, a) z = Identity(a) s = Sqrt(y) r = Mul(x, s) }", {}, ["Mul"]),
    ("a chain of names", "g (float[N,2] x) => (float[N,2] y, float[N,2] z, float[N,2] w, float[N,2] r) { y = Relu(x) z = Identity(y) w = Identity(z) r = Neg(w) }", {}, ["Relu", "Identity", "Identity", "Neg"]),
    ("heads of two symbols", "g (float[N,S,8] x) => (float[N,S,2,4] y) <int64 a = {0}, int64 b = {1}, int64[1] z = {0}, int64[2] h = {2,4}> { s = Shape(x) n = Gather(s, a) m = Gather(s, b) n1 = Unsqueeze(n, z) m1 = Unsqueeze(m, z) t = Concat<axis=0>(n1, m1, h) y = Reshape(x, t) }", {}, ["Reshape"]),
    ("symbols in another order", "g (float[N,S,8] x) => (float[S,N,8] y) <int64[1] i = {1}, int64[1] j = {0}, int64[1] k = {8}> { s = Shape(x) a = Gather(s, i) b = Gather(s, j) t = Concat<axis=0>(a, b, k) y = Reshape(x, t) }", {}, ["Shape", "Gather", "Gather", "Concat", "Reshape"]),
    ("expand with -1", "g (float[N,1] x) => (float[N,4] y) <int64[1] f = {4}, int64[2] m = {-1,-1}, int64[2] o = {1,1}> { s = Shape<end=1>(x) t = Concat<axis=0>(s, f) e = Equal(t, m) w = Where(e, o, t) y = Expand(x, w) }", {}, ["Expand"]),
    ("sizes of one symbol", "g (float[N,S] x) => (int64[S] y, int64[S] z) <int64 i = {1}, int64 o = {0}, int64 l = {1}> { r = Relu(x) e = Exp(r) a = Shape(r) b = Shape(e) c = Gather(a, i) d = Gather(b, i) y = Range(o, c, l) k = Range(o, d, l) z = Neg(k) }", {}, ["Shape", "Gather", "Range", "Neg"]),
    ("shape of a function", "g (float[N,M] x) => (int64[2] y) { a = Cast<to=7>(x) b = Neg(a) s = Shape(b) y = Neg(s) }", {}, ["Shape", "Neg"]),
    ("shape of a sum", "g (float[N,M] x, float[N,1] z) => (int64[2] y) { a = Add(x, z) s = Shape(a) y = Neg(s) }", {}, ["Add", "Shape", "Neg"]),
    ("shape of what is read elsewhere", "g (float[N,M] x) => (int64[2] y, float[N,M] z) { z = Relu(x) s = Shape(z) y = Neg(s) }", {}, ["Relu", "Shape", "Neg"]),
    # branches
    ("a known branch", f"g (float[N,2] x) => (float[N,2] y) <bool c = {{1}}> {{ y = If(c) <{BRANCHES}> }}", {}, ["Relu"]),
    ("the other branch", f"g (float[N,2] x) => (float[N,2] y) <bool c = {{0}}> {{ r = If(c) <{BRANCHES}> y = Neg(r) }}", {}, ["Exp", "Neg"]),
    ("an open branch", f"g (float[N,2] x, bool c) => (float[N,2] y) {{ y = If(c) <{BRANCHES}> }}", {}, ["If"]),
    # factors
    ("mul, conv", IMAGE + " { d = Mul(x, s) y = Conv<pads=[1,1,1,1]>(d, w) }", {"w": (6, 4, 3, 3), "s": (4, 1, 1)}, ["Conv"]),
    ("mul, grouped conv", IMAGE + " { d = Mul(x, s) y = Conv<group=2>(d, w, k) }", {"w": (6, 2, 3, 3), "s": (1, 4, 1, 1), "k": (6,)}, ["Conv"]),
    ("mul per column, conv", IMAGE + " { d = Mul(x, s) y = Conv(d, w) }", {"w": (6, 4, 3, 3), "s": (8,)}, ["Mul", "Conv"]),
    ("div, matmul", "g (float[N,S,4] x) => (float[N,S,6] y) { d = Div(x, s) y = MatMul(d, w) }", {"w": (4, 6), "s": (4,)}, ["MatMul"]),
    ("matmul, add, mul", "g (float[N,S,4] x) => (float[N,S,6] y) { d = MatMul(x, w) e = Add(d, k) y = Mul(e, s) }", {"w": (4, 6), "k": (6,), "s": ()}, ["MatMul", "Add"]),
    ("bn, conv", IMAGE + " { d = BatchNormalization(x, g, b, m, v) y = Conv(d, w, k) }", {"w": (6, 4, 3, 3), "k": (6,), **BN}, ["Conv"]),
    ("bn, grouped conv", IMAGE + " { d = BatchNormalization(x, g, b, m, v) y = Conv<group=2>(d, w) }", {"w": (6, 2, 3, 3), **BN}, ["Conv"]),
    ("bn, padding conv", IMAGE + " { d = BatchNormalization(x, g, b, m, v) y = Conv<pads=[1,1,1,1]>(d, w) }", {"w": (6, 4, 3, 3), **BN}, ["BatchNormalization", "Conv"]),
    ("state of zeros", "g (float[T,N,3] x) => (float[T,1,N,4] y) <int64[1] i = {1}, int64[1] d = {4}, int64[1] o = {1}> { s = Shape(x) n = Gather(s, i) t = Concat<axis=0>(o, n, d) h = ConstantOfShape(t) y = GRU<hidden_size=4>(x, w, r, , , h) }", {"w": (1, 12, 3), "r": (1, 12, 4)}, ["GRU"]),
    # rows, slices
    ("rows as matrices", "g (float[2,5,4] x) => (float[2,5,4] y) { a = MatMul(x, w) b = Add(a, k) c = Relu(b) d = MatMul(c, v) e = Add(d, k) f = Sigmoid(e) h = MatMul(f, u) y = Add(h, k) }", {"w": (4, 4), "v": (4, 4), "u": (4, 4), "k": (4,)}, ["Reshape", "Gemm", "Relu", "Gemm", "Sigmoid", "Gemm", "Reshape"]),
    ("rows that are too few", "g (float[2,5,4] x) => (float[2,5,4] y) { a = MatMul(x, w) y = Add(a, k) }", {"w": (4, 4), "k": (4,)}, ["MatMul", "Add"]),
    ("slices that are a split", "g (float[N,6] x) => (float[N,2] y, float[N,4] z) <int64[1] o = {0}, int64[1] t = {2}, int64[1] s = {6}, int64[1] a = {1}> { y = Slice(x, o, t, a) z = Slice(x, t, s, a) }", {}, ["Split"]),
    ("slices that overlap", "g (float[N,6] x) => (float[N,3] y, float[N,4] z) <int64[1] o = {0}, int64[1] t = {3}, int64[1] u = {2}, int64[1] s = {6}, int64[1] a = {1}> { y = Slice(x, o, t, a) z = Slice(x, u, s, a) }", {}, ["Slice", "Slice"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "weights", "after"), [row[1:] for row in RULES], ids=[row[0] for row in RULES])
def test_rule(text: str, weights: dict[str, tuple[int, ...]], after: list[str]) -> None:
    assert_rule(text, weights, after, simplification(21))


ANY = "float[?,?,?,?]"
IMAGES = "g (float[N,3,H,8] x, float[M,3,H,8] z, int64[8] k) => "
NAMED = [
    # windows keep the batch; what they make of the rest is not said
    ("conv", f"{IMAGES}({ANY} y) {{ y = Conv(x, w) }}", {"w": (4, 3, 1, 1)}, ("N", "?", "?", "?")),
    ("transposed conv", f"{IMAGES}({ANY} y) {{ y = ConvTranspose<strides=[2,2]>(z, w) }}", {"w": (3, 4, 2, 2)}, ("M", "?", "?", "?")),
    ("max pool", f"{IMAGES}({ANY} y) {{ y = MaxPool<kernel_shape=[1,2]>(x) }}", {}, ("N", "?", "?", "?")),
    ("average pool", f"{IMAGES}({ANY} y) {{ y = AveragePool<kernel_shape=[1,2]>(x) }}", {}, ("N", "?", "?", "?")),
    # pads
    ("pad of columns", f"{IMAGES}({ANY} y) <int64[8] p = {{0,0,0,1,0,0,0,0}}> {{ y = Pad(x, p) }}", {}, ("N", 3, "H", "?")),
    ("pad that cuts", f"{IMAGES}({ANY} y) <int64[8] p = {{0,0,-1,0,0,0,1,0}}> {{ y = Pad(x, p) }}", {}, ("N", 3, "?", 8)),
    ("pad of named axes", f"{IMAGES}({ANY} y) <int64[2] p = {{0,1}}, int64[1] a = {{3}}> {{ y = Pad(x, p, , a) }}", {}, None),
    ("pad by what is computed", f"{IMAGES}({ANY} y) {{ y = Pad(x, k) }}", {}, None),
    # concats
    ("concat along a number", f"{IMAGES}({ANY} y) {{ y = Concat<axis=1>(x, x) }}", {}, ("N", "?", "H", 8)),
    ("concat along a symbol", f"{IMAGES}({ANY} y) {{ y = Concat<axis=0>(x, z) }}", {}, ("?", 3, "H", 8)),
    ("concat counted from the end", f"{IMAGES}({ANY} y) {{ y = Concat<axis=-2>(x, x) }}", {}, ("N", 3, "?", 8)),
    # reshapes with -1
    ("a symbol that is left", "g (float[N,8,2] x) => (float[?,?] y) <int64[2] s = {-1,16}> { y = Reshape(x, s) }", {}, ("N", 16)),
    ("a number that is left", "g (float[N,8,2] x) => (float[?,?] y) <int64[2] s = {0,-1}> { y = Reshape(x, s) }", {}, ("N", 16)),
    ("a multiple of a symbol", "g (float[N,8,2] x) => (float[?,?] y) <int64[2] s = {-1,8}> { y = Reshape(x, s) }", {}, ("?", 8)),
    ("two symbols that are left", "g (float[N,M,2] x) => (float[?,?] y) <int64[2] s = {-1,2}> { y = Reshape(x, s) }", {}, ("?", 2)),
    ("the second of two symbols", "g (float[N,M,2] x) => (float[?,?,?] y) <int64[3] s = {0,-1,2}> { y = Reshape(x, s) }", {}, ("N", "M", 2)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "weights", "dims"), [row[1:] for row in NAMED], ids=[row[0] for row in NAMED])
def test_dims_are_named(text: str, weights: dict[str, tuple[int, ...]], dims: tuple[int | str, ...] | None) -> None:
    """What one node tells of its output's dims, and that it has them; no other inference runs."""
    proto = build(text, weights)
    model = ir.from_bytes(proto.SerializeToString())
    node = model.graph[-1]
    assert symbols.name_dims(node) == (dims is not None)
    named = ir.shape(node.outputs[0])
    assert named == (dims or ("?",) * 4)
    for sizes in ({"N": 1, "M": 2, "H": 5}, {"N": 3, "M": 4, "H": 7}):
        feeds = oracle.seeded_feeds(proto, 1, sizes) | {"k": np.array([0, 0, 1, 0] * 2)}
        inputs = {value.name for value in proto.graph.input}
        made = oracle.Session(proto).run({name: array for name, array in feeds.items() if name in inputs})["y"]
        assert all(
            dim in ("?", size) or sizes.get(str(dim)) == size for dim, size in zip(named, made.shape, strict=True)
        )


SAME = [
    ("all but one dim stay", "g (float[N,2] x) => (int64[A,B] y) <int64[2] s = {2,-1}> { i = NonZero(x) r = Reshape(i, s) y = Neg(r) }", ["NonZero", "Neg"]),
    ("a dim of 1 moves", "g (float[N,2] x) => (int64[A,B,C] y) <int64[1] a = {1}, int64[3] s = {2,-1,1}> { i = NonZero(x) u = Unsqueeze(i, a) r = Reshape(u, s) y = Neg(r) }", ["NonZero", "Reshape", "Neg"]),
    ("two dims change places", "g (float[N,3,2] x) => (float[N,2,3] y) <int64[3] s = {-1,2,3}> { y = Reshape(x, s) }", ["Reshape"]),
    ("a symbol and a number stay", "g (float[N,M,2] x) => (float[A,B,2] y) <int64[3] s = {0,-1,2}> { r = Reshape(x, s) y = Neg(r) }", ["Neg"]),
    ("what is joined is no dim that stays", "g (float[N,M,2] x) => (float[A,2,2] y) <int64[3] s = {-1,2,2}> { c = Concat<axis=1>(x, x) r = Reshape(c, s) y = Neg(r) }", ["Concat", "Reshape", "Neg"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "after"), [row[1:] for row in SAME], ids=[row[0] for row in SAME])
def test_reshapes_to_the_same_sizes(text: str, after: list[str]) -> None:
    assert_rule(text, {}, after, simplification(21))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3), (3, 1, 2, 0)])
def test_space_to_depth(order: tuple[int, ...]) -> None:
    """Four interleaved quarters as channels; the blocks' order is kept by a Gather where it is another."""
    names = "".join(
        f" s{i} = Constant<value_ints=[{i // 2},{i % 2}]>() q{i} = Slice(x, s{i}, e, a, t)" for i in range(4)
    )
    parts = ", ".join(f"q{i}" for i in order)
    head = "g (float[N,3,8,6] x) => (float[N,12,4,3] y) <int64[2] e = {8,6}, int64[2] a = {2,3}, int64[2] t = {2,2}>"
    proto = build(f"{head} {{ {names} y = Concat<axis=1>({parts}) }}", {})
    model = simplified(proto, simplification(21))
    assert ops(model) == ["SpaceToDepth"] if order == (0, 1, 2, 3) else ["SpaceToDepth", "Gather"]
    assert_equal(proto, model)
