"""Rules for loops, for what is computed twice, for products of transposed matrices, and for Resize by sizes."""

# ruff: noqa: E501 (a graph is easiest to read in one line)

from __future__ import annotations

import numpy as np
import pytest
from rule_cases import assert_equal, assert_rule, build, ops, simplified

from effc.compiler import ir, oracle, walk
from effc.compiler.metrics import sqnr_db
from effc.compiler.passes import simplification

LOOP = "g (float[N,2] x, bool k) => (float[N,2] y{more}) <int64 one = {{1}}, int64 two = {{2}}, int64 none = {{0}}, bool t = {{1}}, bool f = {{0}}, int64[1] z = {{0}}> {{ {nodes} }}"
ONCE = "body = b (int64 i, bool g, float[N,2] c) => (bool h, float[N,2] d) { h = Identity(g) e = Cast<to=1>(i) j = Exp(c) q = Sub(j, e) d = Mul(q, x) }"
ENDS = ONCE.replace("Identity(g)", "Identity(f)")
GATHERS = "body = b (int64 i, bool g, float[N,2] c) => (bool h, float[N,2] d, float[N,2] s) { h = Identity(g) d = Mul(c, x) s = Exp(d) }"
SWAPS = "body = b (int64 i, bool g, float[N,2] c, float[N,2] v) => (bool h, float[N,2] d, float[N,2] p) { h = Identity(g) d = Identity(v) p = Identity(c) }"


def loop(inputs: str, body: str, more: str = "", also: str = "") -> str:
    outputs = "y, w" if more else "y"
    return LOOP.format(more=more, nodes=f"{also} {outputs} = Loop({inputs}) <{body}>")


IF = "If(k) <then_branch = t () => (float[N,2] p) {{ {} p = Relu(o) }}, else_branch = e () => (float[N,2] q) {{ q = Neg(x) }}>"
RULES = [
    # loops
    ("loop once", loop("one, t, x", ONCE), {}, ["Exp", "Mul"]),
    ("loop once, no condition", loop("one, , x", ONCE), {}, ["Exp", "Mul"]),
    ("loop once, open condition", loop("one, k, x", ONCE), {}, ["Loop"]),
    ("loop twice", loop("two, t, x", ONCE), {}, ["Loop"]),
    ("loop that ends itself", loop("two, t, x", ENDS), {}, ["Exp", "Mul"]),
    ("loop that ends itself, no limit", loop(", t, x", ENDS), {}, ["Exp", "Mul"]),
    ("loop that ends itself, condition not asked", loop("two, , x", ENDS), {}, ["Loop"]),
    ("loop never", loop("none, t, x", ONCE), {}, ["Identity"]),
    ("loop never, by condition", loop("two, f, x", ONCE, also="r = Relu(x)").replace("y = Loop", "v = Loop").replace("}> }", "}> y = Add(v, r) }"), {}, ["Relu", "Add"]),
    ("loop never, gathering", loop("none, t, x", GATHERS, ", float[K,N,2] w"), {}, ["Loop"]),
    ("loop once, gathering", loop("one, t, x", GATHERS, ", float[K,N,2] w"), {}, ["Mul", "Exp", "Reshape"]),
    ("loop once that swaps", loop("one, t, x, x", SWAPS, ", float[N,2] w"), {}, ["Identity", "Identity"]),
    ("loop once in a branch", LOOP.format(more="", nodes="y = " + IF.format(f"o = Loop(one, t, x) <{ONCE}>")), {}, ["If"]),
    ("loop once around a branch", loop("one, t, x", "body = b (int64 i, bool g, float[N,2] c) => (bool h, float[N,2] d) { h = Identity(g) j = Exp(c) d = " + IF.format("o = Mul(j, c)") + " }"), {}, ["Exp", "If"]),
    ("loop once, its names taken", loop("one, t, x", ONCE, also="q = Neg(x) j = Sin(q)").replace("y = Loop", "v = Loop").replace("}> }", "}> y = Add(v, j) }"), {}, ["Neg", "Sin", "Exp", "Mul", "Add"]),
    ("initial values as two outputs", loop("none, t, x, x", SWAPS, ", float[N,2] w"), {}, ["Identity", "Identity"]),
    # what is computed twice
    ("a sum and its mirror image", "g (float[N,2] x, float[N,2] z) => (float[N,2] y) { a = Add(x, z) b = Add(z, x) y = Mul(a, b) }", {}, ["Add", "Mul"]),
    ("a difference and its mirror image", "g (float[N,2] x, float[N,2] z) => (float[N,2] y) { a = Sub(x, z) b = Sub(z, x) y = Mul(a, b) }", {}, ["Sub", "Sub", "Mul"]),
    ("less and greater", "g (float[N,2] x, float[N,2] z) => (bool[N,2] y) { a = Less(x, z) b = Greater(z, x) y = Or(a, b) }", {}, ["Less", "Or"]),
    ("less and not greater", "g (float[N,2] x, float[N,2] z) => (bool[N,2] y) { a = Less(x, z) b = LessOrEqual(x, z) y = Xor(a, b) }", {}, ["Less", "LessOrEqual", "Xor"]),
    ("less both ways", "g (float[N,2] x, float[N,2] z) => (bool[N,2] y) { a = Less(x, z) b = Less(z, x) y = Or(a, b) }", {}, ["Less", "Less", "Or"]),
    ("one sum, three outputs", "g (float[N,2] x, float[N,2] z) => (float[N,2] y, float[N,2] w, float[N,2] v) { y = Add(x, z) w = Add(z, x) v = Add(x, z) }", {}, ["Add", "Identity", "Identity"]),
    ("one op, two slopes", "g (float[N,2] x) => (float[N,2] y) { a = LeakyRelu<alpha=0.1>(x) b = LeakyRelu<alpha=0.2>(x) c = LeakyRelu<alpha=0.1>(x) d = Add(a, b) y = Mul(d, c) }", {}, ["LeakyRelu", "LeakyRelu", "Add", "Mul"]),
    ("two outputs, one read of each", "g (float[N,6] x) => (float[N,3] y) { a, b = Split<axis=1,num_outputs=2>(x) c, d = Split<axis=1,num_outputs=2>(x) y = Sub(a, d) }", {}, ["Split", "Sub"]),
    # products
    ("transposed operand", "g (float[3,N] x) => (float[N,5] y) { a = Transpose(x) b = MatMul(a, w) y = Add(b, k) }", {"w": (3, 5), "k": (5,)}, ["Gemm"]),
    ("both operands transposed", "g (float[3,N] x, float[5,3] z) => (float[N,5] y) { a = Transpose(x) b = Transpose<perm=[1,0]>(z) y = MatMul(a, b) }", {}, ["Gemm"]),
    ("transposed twice, read twice", "g (float[3,N] x) => (float[N,5] y, float[N,3] z) { a = Transpose(x) y = Gemm(a, w, k) z = Relu(a) }", {"w": (3, 5), "k": (5,)}, ["Gemm", "Transpose", "Relu"]),
    ("transposed factor, read twice", "g (float[3,N] x) => (float[N,5] y, float[N,3] z) { a = Transpose(x) y = MatMul(a, w) z = Relu(a) }", {"w": (3, 5)}, ["Transpose", "MatMul", "Relu"]),
    ("transposed integers", "g (int32[3,N] x, int32[3,4] z) => (int32[N,4] y) { a = Transpose(x) y = MatMul(a, z) }", {}, ["Transpose", "MatMul"]),
    ("transposed product", "g (float[N,3] x, float[3,M] z) => (float[M,N] y) { a = MatMul(x, z) y = Transpose(a) }", {}, ["Gemm"]),
    ("transposed gemm", "g (float[N,3] x) => (float[5,N] y) { a = Gemm<alpha=0.5,beta=2.0>(x, w, k) y = Transpose(a) }", {"w": (3, 5), "k": (5,)}, ["Gemm"]),
    ("transposed gemm of a column", "g (float[4,3] x) => (float[5,4] y) { a = Gemm(x, w, k) y = Transpose(a) }", {"w": (3, 5), "k": (4, 1)}, ["Gemm"]),
    ("transposed gemm of a computed term", "g (float[N,3] x, float[N,5] z) => (float[5,N] y) { a = Gemm(x, w, z) y = Transpose(a) }", {"w": (3, 5)}, ["Gemm", "Transpose"]),
    ("transposed products of a batch", "g (float[2,N,3] x) => (float[2,5,N] y) { b = MatMul(x, w) y = Transpose<perm=[0,2,1]>(b) }", {"w": (3, 5)}, ["MatMul", "Transpose"]),
    ("computed factors, bias", "g (float[N,3] x, float[3,4] z) => (float[N,4] y) { a = MatMul(x, z) y = Add(k, a) }", {"k": (4,)}, ["Gemm"]),
    ("product and a tensor", "g (float[N,3] x, float[N,5] z) => (float[N,5] y) { a = MatMul(x, w) y = Add(z, a) }", {"w": (3, 5)}, ["Gemm"]),
    ("product and a tensor, by Sum", "g (float[N,3] x, float[N,5] z) => (float[N,5] y) { a = Gemm<alpha=0.5,beta=3.0>(x, w) y = Sum(a, z) }", {"w": (3, 5)}, ["Gemm"]),
    ("product and two tensors", "g (float[N,3] x, float[N,5] z) => (float[N,5] y) { a = MatMul(x, w) y = Sum(a, z, z) }", {"w": (3, 5)}, ["MatMul", "Sum"]),
    ("product and a tensor of other dims", "g (float[N,3] x, float[M,5] z) => (float[A,5] y) { a = MatMul(x, w) y = Add(z, a) }", {"w": (3, 5)}, ["MatMul", "Add"]),
    ("product, bias and a tensor", "g (float[N,3] x, float[N,5] z) => (float[N,5] y) { a = Gemm(x, w, k) y = Add(a, z) }", {"w": (3, 5), "k": (5,)}, ["Gemm", "Add"]),
    ("product and itself", "g (float[N,3] x) => (float[N,5] y) { a = MatMul(x, w) y = Add(a, a) }", {"w": (3, 5)}, ["MatMul", "Add"]),
    ("two products", "g (float[N,3] x) => (float[N,5] y) { a = MatMul(x, w) b = MatMul(x, v) y = Add(a, b) }", {"w": (3, 5), "v": (3, 5)}, ["MatMul", "Gemm"]),
    ("computed factors, column", "g (float[4,3] x, float[3,4] z) => (float[4,4] y) { a = MatMul(x, z) y = Add(a, k) }", {"k": (4, 1)}, ["MatMul", "Add"]),
    ("computed factors, open bias", "g (float[N,3] x, float[3,M] z) => (float[N,3] y) { a = MatMul(x, z) y = Add(a, k) }", {"k": (3,)}, ["MatMul", "Add"]),
]  # fmt: skip


BLOCKS = "g (float[{given}] x) => (float[A,B,C,D] y) <int64[6] s = {{{split}}}, int64[4] t = {{{joined}}}> {{ a = Reshape(x, s) b = Transpose<perm=[{perm}]>(a) y = Reshape(b, t) }}"


def blocks(given: str, split: str, perm: str, joined: str) -> str:
    return BLOCKS.format(given=given, split=split, perm=perm, joined=joined)


APART = ["Reshape", "Transpose", "Reshape"]
RULES += [
    ("channels to space, blocks first", blocks("N,8,3,5", "-1,2,2,2,3,5", "0,3,4,1,5,2", "-1,2,6,10"), {}, ["DepthToSpace"]),
    ("channels to space, channels first", blocks("N,18,3,5", "-1,2,3,3,3,5", "0,1,4,2,5,3", "-1,2,9,15"), {}, ["DepthToSpace"]),
    ("channels to space, one channel", blocks("N,4,3,3", "-1,1,2,2,3,3", "0,1,4,2,5,3", "-1,1,6,6"), {}, ["DepthToSpace"]),
    ("channels to space, oblong blocks", blocks("N,12,3,5", "-1,2,2,3,3,5", "0,1,4,2,5,3", "-1,2,6,15"), {}, APART),
    ("channels to space, columns first", blocks("N,8,3,5", "-1,2,2,2,3,5", "0,1,4,3,5,2", "-1,2,6,10"), {}, APART),
    ("channels to space, joined otherwise", blocks("N,8,3,4", "-1,2,2,2,3,4", "0,1,4,2,5,3", "-1,2,4,12"), {}, APART),
    ("channels to space, split otherwise", blocks("N,4,6,5", "-1,2,2,2,3,5", "0,1,4,2,5,3", "-1,2,6,10"), {}, APART),
    ("space to channels", blocks("N,2,6,10", "-1,2,3,2,5,2", "0,3,5,1,2,4", "-1,8,3,5"), {}, ["SpaceToDepth"]),
    ("space to channels, channels first", blocks("N,2,6,10", "-1,2,3,2,5,2", "0,1,3,5,2,4", "-1,8,3,5"), {}, APART),
    ("space to channels, windows", blocks("N,6,10,2", "-1,3,2,5,2,2", "0,1,3,2,4,5", "-1,2,2,2"), {}, APART),
]  # fmt: skip


@pytest.mark.parametrize(("text", "weights", "after"), [row[1:] for row in RULES], ids=[row[0] for row in RULES])
def test_rule(text: str, weights: dict[str, tuple[int, ...]], after: list[str]) -> None:
    assert_rule(text, weights, after, simplification(21))


RESIZE = "g (float[N,3,H,W] x) => (float[A,B,C,D] y) <int64[1] o = {0}, int64[1] b = {2}, int64[1] e = {4}, int64[2] k = {2,3}, float[2] whole = {2.0,3.0}, float[2] part = {1.5,2.0}, int64 i2 = {2}, int64 i3 = {3}, int64 two = {2}> "
EACH = "s = Shape(x) h = Gather(s, i2) w = Gather(s, i3) h2 = Mul(h, two) w2 = Mul(two, w) hu = Unsqueeze(h2, o) wu = Unsqueeze(w2, o) f = Slice(s, o, b, o)"
TAIL = "s = Shape(x) h = Slice(s, b, e, o) c = Cast<to=1>(h) m = Mul(c, {}) l = Floor(m) q = Cast<to=7>(l) f = Slice(s, o, b, o) t = Concat<axis=0>(f, q)"
RESIZES = [
    ("integers", "s = Shape(x) h = Slice(s, b, e, o) m = Mul(h, k) f = Slice(s, o, b, o) t = Concat<axis=0>(f, m) y = Resize<mode=\"nearest\">(x, , , t)", True),
    ("each dim by itself", EACH + " t = Concat<axis=0>(f, hu, wu) y = Resize<mode=\"cubic\",coordinate_transformation_mode=\"pytorch_half_pixel\">(x, , , t)", True),
    ("the other dim", EACH + " t = Concat<axis=0>(f, wu, hu) y = Resize<mode=\"linear\">(x, , , t)", False),
    ("floats", TAIL.format("whole") + " y = Resize<mode=\"linear\">(x, , , t)", True),
    ("floats that are rounded", TAIL.format("part") + " y = Resize<mode=\"linear\">(x, , , t)", False),
    ("named axes", "s = Shape(x) h = Slice(s, b, e, o) m = Mul(h, k) y = Resize<mode=\"linear\",axes=[2,3],coordinate_transformation_mode=\"align_corners\">(x, , , m)", True),
    ("axes the other way round", "s = Shape(x) h = Slice(s, b, e, o) m = Mul(h, k) y = Resize<mode=\"linear\",axes=[3,2]>(x, , , m)", False),
    ("the ratio kept", "s = Shape(x) h = Slice(s, b, e, o) m = Mul(h, k) y = Resize<mode=\"linear\",axes=[2,3],keep_aspect_ratio_policy=\"not_larger\">(x, , , m)", False),
    ("an offset", "s = Shape(x) h = Slice(s, b, e, o) m = Add(h, k) y = Resize<mode=\"linear\",axes=[2,3]>(x, , , m)", False),
]  # fmt: skip


@pytest.mark.parametrize(("body", "by_scales"), [row[1:] for row in RESIZES], ids=[row[0] for row in RESIZES])
def test_sizes_that_are_multiples_are_scales(body: str, by_scales: bool) -> None:
    proto = build(f"{RESIZE}{{ {body} }}", {})
    model = simplified(proto, simplification(21))
    assert (ops(model) == ["Resize"]) == by_scales
    for sizes in ({"N": 1, "H": 4, "W": 7}, {"N": 2, "H": 9, "W": 5}):
        feeds = oracle.seeded_feeds(proto, 1, sizes)
        before, after = oracle.Session(proto).run(feeds)["y"], oracle.Session(model).run(feeds)["y"]
        assert before.shape == after.shape
        assert sqnr_db(before, after) > 150


def test_branches_share_with_what_is_around_them() -> None:
    text = "g (float[N,2] x, bool c) => (float[N,2] y) { a = Exp(x) b = If(c) <then_branch = t () => (float[N,2] p) { o = Exp(x) p = Relu(o) }, else_branch = e () => (float[N,2] q) { q = Exp(x) }> y = Mul(a, b) }"
    proto = build(text, {})
    model = simplified(proto)
    assert [node.op_type for node in walk.everywhere(model.graph)].count("Exp") == 1
    assert_equal(proto, model)


@pytest.mark.parametrize("op", ["Bernoulli", "RandomNormalLike", "RandomUniformLike"])
def test_two_draws_stay_two(op: str) -> None:
    text = f"g (float[N,2] x) => (float[N,2] y) {{ a = {op}(x) b = {op}(x) y = Sub(a, b) }}"
    assert ops(simplified(build(text, {}))).count(op) == 2


def test_names_inside_do_not_hide_those_that_were_moved_out() -> None:
    """Both branches are read from one If to the next under names that the second has itself."""
    text = """g (float[N,2] x, bool c) => (float[N,2] y) <bool k = {1}>
    { a = If(k) <then_branch = t () => (float[N,2] o) { p = Relu(x) o = Exp(p) }, else_branch = e () => (float[N,2] q) { q = Exp(x) }>
      y = If(c) <then_branch = u () => (float[N,2] v) { o = Neg(x) v = Mul(o, a) }, else_branch = f () => (float[N,2] w) { p = Sin(x) w = Mul(p, a) }> }"""
    proto = build(text, {})
    model = ir.from_bytes(proto.SerializeToString())
    ir.fresh_name(model.graph, "taken")
    step = next(step for step in simplification(21)[0].steps if step.name == "known branches")
    assert step.apply(model)
    names = [v.name for node in walk.everywhere(model.graph) for v in node.outputs]
    assert len(names) == len(set(names))
    for chosen in (False, True):
        feeds = {"x": np.ones((2, 2), np.float32), "c": np.array(chosen)}
        before, after = oracle.Session(proto).run(feeds), oracle.Session(model).run(feeds)
        assert np.array_equal(before["y"], after["y"])
