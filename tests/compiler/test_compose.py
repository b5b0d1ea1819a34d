"""Written-out forms: the graph before, the ops after, equal outputs in the oracle; and graphs that only look like one."""

# ruff: noqa: E501 (a graph is easiest to read in one line)

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from written_out import (
    FUNCTIONS,
    LOOKALIKES,
    MEAN,
    NORMS,
    REDUCTIONS,
    SIZES,
    SQUARE,
    C,
    Dims,
    V,
    assert_equal,
    build,
    composed,
    feeds_of,
    ops,
)

from effc.compiler import downgrade, oracle
from effc.compiler.apart import Apart


@pytest.mark.parametrize(("opset", "body", "after"), [row[1:] for row in FUNCTIONS], ids=[row[0] for row in FUNCTIONS])
def test_function(opset: int, body: str, after: list[str]) -> None:
    proto = build(f"{V}{C}{{ {body} }}", opset)
    model = composed(proto, opset)
    assert ops(model) == sorted(after)
    assert_equal(proto, model)


@pytest.mark.parametrize(
    ("opset", "body", "after"), [row[1:] for row in LOOKALIKES], ids=[row[0] for row in LOOKALIKES]
)
def test_lookalike(opset: int, body: str, after: list[str]) -> None:
    test_function(opset, body, after)


IN_DOUBLE = {"Sigmoid", "Swish", "Tanh"}


@pytest.mark.parametrize("rows", [FUNCTIONS[i::4] for i in range(4)])
def test_in_double_only_what_runtimes_have_is_made(rows: list[tuple[str, int, str, list[str]]]) -> None:
    for _, opset, body, after in rows:
        proto = build(f"{V}{C}{{ {body} }}".replace("float ", "double ").replace("float[", "double["), opset)
        model = composed(proto, opset)
        made = set(ops(model)) - {node.op_type for node in proto.graph.node}
        assert made <= IN_DOUBLE | {"Clip", "Mul", "Relu"}
        assert (made & IN_DOUBLE) == (set(after) - {node.op_type for node in proto.graph.node}) & IN_DOUBLE
        assert_equal(proto, model)


READ_ELSEWHERE = [
    ("gelu", "d = Div(x, r2) e = Erf(d) a = Add(e, one) b = Mul(x, a) y = Mul(b, half)", "dea"),
    ("swish", "b = Mul(x, t) a = Sigmoid(b) y = Mul(a, x)", "ba"),
    ("sigmoid", "b = Neg(x) e = Exp(b) a = Add(one, e) y = Div(one, a)", "bea"),
    ("softplus", "e = Exp(x) a = Add(e, one) y = Log(a)", "ea"),
    ("mish", "p = Softplus(x) h = Tanh(p) y = Mul(x, h)", "ph"),
    ("elu", "c = Greater(x, z) e = Exp(x) a = Sub(e, one) b = Mul(a, two) y = Where(c, x, b)", "eab"),
    ("hard swish", "a = Add(x, three) c = Clip(a, z, six) d = Mul(x, c) y = Div(d, six)", "ac"),
]


@pytest.mark.parametrize("use", ["z{0} = Cos({0})", "z{0} = Identity({0})"], ids=["another reader", "an output"])
@pytest.mark.parametrize(
    ("body", "inner"),
    [(body, name) for _, body, inner in READ_ELSEWHERE for name in inner],
    ids=[f"{form}: {name}" for form, _, inner in READ_ELSEWHERE for name in inner],
)
def test_what_is_read_elsewhere_stays(body: str, inner: str, use: str) -> None:
    outputs = f"(float[N,8] y, float[N,8] z{inner})"
    proto = build(f"g (float[N,8] x) => {outputs} {C}{{ {body} {use.format(inner)} }}", 24)
    model = composed(proto, 24)
    assert ops(model) == sorted(node.op_type for node in proto.graph.node if node.op_type != "Identity")
    assert_equal(proto, model)


HALF = "g (float16[N,8] x) => (float16[N,8] y) <int64[1] last = {-1}, float eps = {1e-5}, float two32 = {2.0}> "
HALF_NUMBERS = {"half": 0.5, "one": 1.0, "r2": 1.4142135, "k": 0.044715, "s": 0.7978846, "heps": 1e-5}
WIDE = "w = Cast<to=1>(x) m = ReduceMean(w, last) d = Sub(w, m) q = Pow(d, two32) v = ReduceMean(q, last) a = Add(v, eps) r = Sqrt(a) n = Div(d, r) c = Cast<to=10>(n) "
HALVES = [
    ("gelu", 20, "d = Div(x, r2) e = Erf(d) a = Add(e, one) b = Mul(x, a) y = Mul(b, half)", ["Gelu"]),
    ("gelu: tanh", 20, "p = Mul(x, x) o = Mul(p, x) q = Mul(o, k) u = Add(x, q) v = Mul(u, s) h = Tanh(v) a = Add(h, one) b = Mul(x, half) y = Mul(b, a)", ["Gelu"]),
    ("layer norm, rounded before the factor", 17, WIDE + "e = Mul(c, hw) y = Add(e, hb)", ["LayerNormalization"]),
    ("layer norm, rounded at the end", 17, WIDE.replace("Cast<to=10>(n)", "Mul(n, w32)") + "y = Cast<to=10>(c)", ["Cast", "Cast", "LayerNormalization"]),
    ("layer norm, all narrow", 17, "m = ReduceMean(x, last) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, last) a = Add(v, heps) r = Sqrt(a) n = Div(d, r) e = Mul(n, hw) y = Add(e, hb)", ["LayerNormalization"]),
    ("rms norm as in Llama", 23, "w = Cast<to=1>(x) q = Pow(w, two32) v = ReduceMean(q, last) a = Add(v, eps) r = Sqrt(a) i = Reciprocal(r) n = Mul(w, i) c = Cast<to=10>(n) y = Mul(hw, c)", ["RMSNormalization"]),
    ("layer norm, rounded to another type", 17, WIDE.replace("to=10", "to=16") + "y = Cast<to=10>(c)", ["Cast", "Cast", "Cast", "LayerNormalization"]),
]  # fmt: skip


@pytest.mark.parametrize(("opset", "body", "after"), [row[1:] for row in HALVES], ids=[row[0] for row in HALVES])
def test_half_precision(opset: int, body: str, after: list[str]) -> None:
    proto = build(f"{HALF}{{ {body} }}", opset, {"hw": (8,), "hb": (8,), "w32": (8,)}, HALF_NUMBERS)
    model = composed(proto, opset)
    assert ops(model) == sorted(after)
    assert_equal(proto, model)


SLOPES = [
    ("Keras", "r = Relu(x) n = Neg(x) q = Relu(n) a = Mul(q, w) y = Sub(r, a)", (6, 1, 1), ["PRelu"]),
    ("negated slopes", "r = Relu(x) n = Neg(x) q = Relu(n) a = Mul(w, q) y = Add(a, r)", (6, 1, 1), ["PRelu"]),
    ("a slope per pixel", "r = Relu(x) n = Neg(x) q = Relu(n) a = Mul(q, w) y = Sub(r, a)", (6, 3, 4), ["PRelu"]),
    ("of another tensor", "r = Abs(x) n = Neg(x) q = Relu(n) a = Mul(q, w) y = Sub(r, a)", (6, 1, 1), ["Abs", "Mul", "Neg", "Relu", "Sub"]),
    ("without the upper half", "n = Neg(x) q = Relu(n) y = Mul(q, w)", (6, 1, 1), ["Mul", "Neg", "Relu"]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "dims", "after"), [row[1:] for row in SLOPES], ids=[row[0] for row in SLOPES])
def test_parametric_relu(body: str, dims: Dims, after: list[str]) -> None:
    proto = build(f"g (float[N,6,3,4] x) => (float[N,6,3,4] y) {{ {body} }}", 21, {"w": dims})
    model = composed(proto, 21)
    assert ops(model) == sorted(after)
    assert_equal(proto, model)


@pytest.mark.parametrize(("head", "body", "after"), [row[1:] for row in REDUCTIONS], ids=[row[0] for row in REDUCTIONS])
def test_reduction(head: str, body: str, after: list[str]) -> None:
    proto = build(f"{head}{{ {body} }}", 21)
    model = composed(proto, 21)
    assert ops(model) == sorted(after)
    assert_equal(proto, model)


@pytest.mark.parametrize(
    ("opset", "head", "body", "weights", "after"), [row[1:] for row in NORMS], ids=[row[0] for row in NORMS]
)
def test_norm(opset: int, head: str, body: str, weights: dict[str, Dims], after: list[str]) -> None:
    proto = build(f"{head}{{ {body} }}", opset, weights)
    model = composed(proto, opset)
    assert ops(model) == sorted(after)
    assert_equal(proto, model)


HEADS = "g (float[B,2,S,4] q, float[B,2,T,4] k, float[B,2,T,4] v) => (float[B,2,S,4] y) "
ROWS_3 = "g (float[B,S,4] q, float[B,T,4] k, float[B,T,4] v) => (float[B,S,4] y) "
WHOLE = "g (float[B,S,8] q, float[B,T,8] k, float[B,T,8] v) => (float[B,S,8] y) "
SCALES = "<float c = {0.5}, float d = {2.0}, int64[4] split = {0,0,2,4}, int64[3] join = {0,0,8}> "
TURNED = "t = Transpose<perm=[0,1,3,2]>(k) "
SPLIT = "qs = Reshape(q, split) ks = Reshape(k, split) vs = Reshape(v, split) qh = Transpose<perm=[0,2,1,3]>(qs) vh = Transpose<perm=[0,2,1,3]>(vs) t = Transpose<perm=[0,2,3,1]>(ks) "
JOIN = "p = Softmax(s) o = MatMul(p, vh) u = Transpose<perm=[0,2,1,3]>(o) y = Reshape(u, join)"
KEPT = ["MatMul", "MatMul", "Softmax", "Transpose"]
ATTENTION = [
    ("plain", 23, HEADS, TURNED + "s = MatMul(q, t) p = Softmax(s) y = MatMul(p, v)", ["Attention"]),
    ("scaled", 23, HEADS, TURNED + "m = MatMul(q, t) s = Div(m, d) p = Softmax(s) y = MatMul(p, v)", ["Attention"]),
    ("both scaled", 24, HEADS, TURNED + "a = Mul(q, c) b = Mul(t, c) s = MatMul(a, b) p = Softmax(s) y = MatMul(p, v)", ["Attention"]),
    ("mask of keys", 23, HEADS.replace("S", "3").replace(") =>", ", float[B,1,1,T] n) =>"), TURNED + "m = MatMul(q, t) e = Mul(m, c) s = Add(e, n) p = Softmax(s) y = MatMul(p, v)", ["Attention", "Expand"]),
    ("mask of keys for queries of any number", 23, HEADS.replace(") =>", ", float[B,1,1,T] n) =>"), TURNED + "m = MatMul(q, t) s = Add(m, n) p = Softmax(s) y = MatMul(p, v)", [*KEPT, "Add"]),
    ("mask of pairs", 23, HEADS.replace(") =>", ", float[S,T] n) =>"), TURNED + "m = MatMul(q, t) e = Mul(m, c) s = Add(n, e) p = Softmax<axis=3>(s) y = MatMul(p, v)", ["Attention"]),
    ("one head", 23, ROWS_3, "t = Transpose<perm=[0,2,1]>(k) m = MatMul(q, t) s = Mul(m, c) p = Softmax(s) y = MatMul(p, v)", ["Attention"]),
    ("all heads", 23, WHOLE, SPLIT + "m = MatMul(qh, t) s = Div(m, d) " + JOIN, ["Attention"]),
    ("all heads, masked", 23, WHOLE.replace(") =>", ", float[B,1,S,T] n) =>"), SPLIT + "m = MatMul(qh, t) e = Div(m, d) s = Add(e, n) " + JOIN, ["Attention"]),
    ("below its opset", 22, HEADS, TURNED + "s = MatMul(q, t) p = Softmax(s) y = MatMul(p, v)", KEPT),
    ("softmax over queries", 23, HEADS, TURNED + "s = MatMul(q, t) p = Softmax<axis=2>(s) y = MatMul(p, v)", KEPT),
    ("weights an output", 23, HEADS.replace("] y)", "] y, float[B,2,S,T] p)"), TURNED + "s = MatMul(q, t) p = Softmax(s) y = MatMul(p, v)", KEPT),
    ("keys of one for all", 23, HEADS.replace("float[B,2,T,4] k", "float[1,2,T,4] k"), TURNED + "s = MatMul(q, t) p = Softmax(s) y = MatMul(p, v)", KEPT),
    ("a mask that widens", 23, HEADS.replace("[B,2,S,4] q", "[B,2,1,4] q").replace(") =>", ", float[5,T] n) =>").replace("[B,2,S,4] y", "[B,2,5,4] y"), TURNED + "m = MatMul(q, t) s = Add(m, n) p = Softmax(s) y = MatMul(p, v)", [*KEPT, "Add"]),
    ("not transposed", 23, HEADS.replace("[B,2,T,4] k", "[B,2,4,T] k"), "s = MatMul(q, k) p = Softmax(s) y = MatMul(p, v)", ["MatMul", "MatMul", "Softmax"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("opset", "head", "body", "after"), [row[1:] for row in ATTENTION], ids=[row[0] for row in ATTENTION]
)
def test_attention(opset: int, head: str, body: str, after: list[str]) -> None:
    proto = build(f"{head}{SCALES}{{ {body} }}", opset)
    model = composed(proto, opset)
    assert ops(model) == sorted(after)
    assert_equal(proto, model)


OLDEST = 14
LOWERED = [
    *[(f"{V}{C}", body, {}) for _, _, body, _ in FUNCTIONS],
    *[(head, body, {}) for _, head, body, _ in REDUCTIONS if "LpNorm" not in body],
    *[(head, body, weights) for _, _, head, body, weights, _ in NORMS],
]


@pytest.fixture(scope="module")
def child() -> Iterator[Apart]:
    with Apart() as found:
        yield found


@pytest.mark.parametrize("opset", [OLDEST, 18])
@pytest.mark.parametrize("rows", [LOWERED[i::8] for i in range(8)])
def test_what_is_made_can_be_written_at_older_opsets(
    rows: list[tuple[str, str, dict[str, Dims]]], opset: int, child: Apart
) -> None:
    for head, body, weights in rows:
        proto = build(f"{head}{{ {body} }}", opset, weights)
        assert_equal(proto, downgrade.lowered(composed(proto, opset), opset, child))


VECTORS = {"w": (8,), "b": (8,)}
BODIES = [body for _, _, body, _ in (*FUNCTIONS, *LOOKALIKES)]
BODIES += [MEAN + end for end in ("y = Div(d, r)", "n = Div(d, r) k = Mul(n, w) y = Add(k, b)")] * 5
BODIES += [SQUARE + "n = Div(x, r) y = Mul(n, w)"] * 5


UNSTABLE = {"c", "m"}
"""What is no float, and a mean that may be 0 but for rounding."""


@st.composite
def placements(draw: st.DrawFn) -> tuple[str, int]:
    """Written-out forms one after another, some added to what they came from, some read inside."""
    text, taps, current = "", [], "x"
    for index in range(draw(st.integers(1, 5))):
        body = draw(st.sampled_from(BODIES))
        made = set(re.findall(r"(\w+) = ", body))
        renamed = re.sub(
            r"\b\w+\b(?= =|[,)])",
            lambda m, i=index, names=made, x=current: f"{m[0]}_{i}" if m[0] in names else x if m[0] == "x" else m[0],
            body,
        )
        text += renamed + " "
        if draw(st.booleans()):
            taps.append(f"{draw(st.sampled_from(sorted(made - UNSTABLE)))}_{index}")
        if draw(st.booleans()):
            text += f"s_{index} = Add({current}, y_{index}) "
            current = f"s_{index}"
        else:
            current = f"y_{index}"
    taps = [tap for tap in dict.fromkeys(taps) if tap != current]
    text += f"y = Identity({current}) " + " ".join(f"out_{tap} = Atan({tap})" for tap in taps)
    outputs = ", ".join(f"float[N,8] {name}" for name in ("y", *(f"out_{tap}" for tap in taps)))
    return f"g (float[N,8] x) => ({outputs}) {C}{{ {text} }}", draw(st.sampled_from([17, 20, 24]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(placements())
def test_outputs_are_kept_wherever_forms_stand(placed: tuple[str, int]) -> None:
    text, opset = placed
    proto = build(text, opset, VECTORS)
    session = oracle.Session(proto)
    assume(all(np.isfinite(a).all() for size in SIZES for a in session.run(feeds_of(proto, size)).values()))
    assert_equal(proto, composed(proto, opset))
