from __future__ import annotations

import re

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from onnx import numpy_helper, parser

from effc.calibration.collect import collect
from effc.calibration.delicate import narrow_observed
from effc.calibration.known import Known
from effc.calibration.readers import open_data
from effc.compiler import ir
from effc.compiler.extents import extents
from effc.compiler.floats import held, nearest, steps
from effc.compiler.metrics import Sums
from effc.compiler.mincut import UNCUT, source_side
from effc.compiler.oracle import Session, graph_inputs, seeded_feeds
from effc.compiler.passes.precision import Narrowing, Observed, narrow
from effc.compiler.ranges import Range
from effc.compiler.rounding import Kernel, rounded
from effc.compiler.widen import widen
from effc.core.options import DataOptions
from tests.graphs import GRAPHS, Graph

FLOAT16, BFLOAT16 = Narrowing("float16"), Narrowing("bfloat16")


def model_of(text: str, **weights: np.ndarray) -> ir.Model:
    proto = parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> g {text}')
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items())
    for index, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}{index}"
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True))


def written(model: ir.Model) -> str:
    """The nodes as text, with types shortened to h for float16, f for float32, i for int8."""
    kinds = {"FLOAT16": "h", "FLOAT": "f", "INT8": "i", "BFLOAT16": "b"}

    def name(value: ir.Value | None) -> str:
        return "" if value is None else f"{value.name}:{kinds.get(value.dtype.name, value.dtype.name.lower())}"

    return "; ".join(f"{name(n.outputs[0])} = {n.op_type}({', '.join(name(v) for v in n.inputs)})" for n in model.graph)


def sound(model: ir.Model) -> None:
    """The checker takes it and every value says its type and shape."""
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    for value in ir.values(model.graph):
        assert value.dtype is not None and value.shape is not None, value


W = np.ones((3, 3), np.float32)
BEFORE_AND_AFTER = [
    pytest.param(
        "(float[2,3] x) => (float[2,3] y) { y = MatMul(x, w) }",
        "x/float16:h = Cast(x:f); y/float:h = MatMul(x/float16:h, w:h); y:f = Cast(y/float:h)",
        id="in and out",
    ),
    pytest.param(
        "(float[2,3] x) => (float[2,3] y, float[2,3] z) { a = MatMul(x, w) y = Relu(a) z = Add(x, a) }",
        "x/float16:h = Cast(x:f); a:h = MatMul(x/float16:h, w:h); y/float:h = Relu(a:h); y:f = Cast(y/float:h); "
        "z/float:h = Add(x/float16:h, a:h); z:f = Cast(z/float:h)",
        id="one cast for all readers",
    ),
    pytest.param(
        "(float[2,3] x) => (float[2,3] y) { a = MatMul(x, w) e = Exp(a) f = Neg(e) l = Exp(f) y = MatMul(l, w) }",
        "x/float16:h = Cast(x:f); a:h = MatMul(x/float16:h, w:h); a/float:f = Cast(a:h); e:f = Exp(a/float:f); "
        "f:f = Neg(e:f); l:f = Exp(f:f); l/float16:h = Cast(l:f); y/float:h = MatMul(l/float16:h, w:h); "
        "y:f = Cast(y/float:h)",
        id="between float32 nodes",
    ),
    pytest.param("(float[2,3] x) => (float[3,2] y) { y = Transpose(x) }", "y:f = Transpose(x:f)", id="only moved"),
    pytest.param(
        "(int64[2,3] x) => (float[2,3] y) { c = Cast<to = 1>(x) y = MatMul(c, w) }",
        "c:h = Cast(x:int64); y/float:h = MatMul(c:h, w:h); y:f = Cast(y/float:h)",
        id="a cast turns",
    ),
    pytest.param(
        "(int64[2,3] x) => (float[2,3] y, float[2,3] z) { c = Cast<to = 1>(x) y = MatMul(c, w) z = Exp(c) }",
        "c:f = Cast(x:int64); c/float16:h = Cast(x:int64); y/float:h = MatMul(c/float16:h, w:h); "
        "y:f = Cast(y/float:h); z:f = Exp(c:f)",
        id="no cast of a cast",
    ),
    pytest.param(
        "(float[2,3] x) => (int64[2,3] i, float[2,3] y) { f = Relu(x) i = Cast<to = 7>(f) y = MatMul(x, w) }",
        "x/float16:h = Cast(x:f); f:f = Relu(x:f); i:int64 = Cast(f:f); y/float:h = MatMul(x/float16:h, w:h); "
        "y:f = Cast(y/float:h)",
        id="integers stay exact",
    ),
    pytest.param(
        "(float[2,3] x) => (float[2,3] y) <float s = {0.5}, int8 z = {0}, int8[3,3] v = {1,2,3,4,5,6,7,8,9}> "
        "{ q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) e = DequantizeLinear(v, s, z) y = MatMul(d, e) }",
        "q:i = QuantizeLinear(x:f, s:f, z:i); d:h = DequantizeLinear(q:i, s/float16:h, z:i); "
        "e:h = DequantizeLinear(v:i, s/float16:h, z:i); y/float:h = MatMul(d:h, e:h); y:f = Cast(y/float:h)",
        id="Q takes float32, DQ gives float16",
    ),
    pytest.param(
        "(float[2,3] x) => (float[2,3] y) <float s = {0.5}, int8 z = {0}> "
        "{ a = MatMul(x, w) q = QuantizeLinear(a, s, z) d = DequantizeLinear(q, s, z) e = Exp(d) y = MatMul(d, w) "
        "u = Add(e, y) }",
        "x/float16:h = Cast(x:f); a:h = MatMul(x/float16:h, w:h); q:i = QuantizeLinear(a:h, s:h, z:i); "
        "d:h = DequantizeLinear(q:i, s:h, z:i); y/float:h = MatMul(d:h, w:h); y:f = Cast(y/float:h)",
        id="Q takes float16",
    ),
    pytest.param(
        "(float[2,2,3,3] x) => (float[2,2,6,6] y) <float[4] s = {1.0, 1.0, 2.0, 2.0}> "
        "{ a = Conv(x, k) y = Resize(a, , s) }",
        "x/float16:h = Cast(x:f); a:h = Conv(x/float16:h, k:h); y/float:h = Resize(a:h, , s:f); y:f = Cast(y/float:h)",
        id="scales of Resize stay",
    ),
    pytest.param(
        "(float[2,3] x, bool c) => (float[2,3] y) { a = MatMul(x, w) y = If(c) <then_branch = t () => (float[2,3] p) "
        "{ p = Relu(a) }, else_branch = e () => (float[2,3] q) { q = Identity(x) }> }",
        "x/float16:h = Cast(x:f); a:h = MatMul(x/float16:h, w:h); a/float:f = Cast(a:h); y:f = If(c:bool)",
        id="subgraphs read float32",
    ),
]


@pytest.mark.parametrize("before, after", BEFORE_AND_AFTER)
def test_casts(before: str, after: str) -> None:
    weights = {"w": W, "k": np.ones((2, 2, 1, 1), np.float32)}
    model = model_of(before, **{k: v for k, v in weights.items() if re.search(rf"[, ]{k}[,)]", before)})
    ir.prune(model)
    source = ir.to_bytes(model)
    result = narrow(model, FLOAT16, {}).model
    assert written(result) == after
    assert ir.to_bytes(model) == source
    sound(result)


KEPT = [
    pytest.param("{ y = Exp(x) }", {}, {"Exp0": "not known"}, id="exp of anything"),
    pytest.param("{ y = Exp(x) }", {"x": (-4, 4), "y": (0.02, 55)}, {}, id="exp of little"),
    pytest.param("{ y = Exp(x) }", {"x": (-20, 12)}, {"Exp0": "reaches -20"}, id="exp of much"),
    pytest.param("{ y = Add(x, x) }", {"y": (0, 70000)}, {"Add0": "'y' reaches 7e"}, id="overflow"),
    pytest.param("{ y = Add(x, x) }", {"y": (0, 15000)}, {}, id="within the margin"),
    pytest.param("{ y = Add(x, x) }", {"y": (0, 1e-5)}, {"Add0": "stays within 1e-05"}, id="all tiny"),
    pytest.param("{ y = Softmax(x) }", {"x": (-3, 3)}, {}, id="softmax of little"),
    pytest.param("{ y = Softmax(x) }", {"x": (-30, 3)}, {"Softmax0": "spans 33"}, id="softmax of much"),
    pytest.param("{ y = Softmax(x) }", {}, {"Softmax0": "not known"}, id="softmax of anything"),
    pytest.param("{ y = ReduceMean(x) }", {"x": (-9, 9)}, {}, id="short mean"),
    pytest.param("{ y = ReduceMean(x) }", {"x": (0, 9000)}, {"ReduceMean0": "6 terms up to 9e"}, id="large mean"),
    pytest.param("{ y = ReduceL2(x) }", {"x": (0, 90)}, {"ReduceL20": "6 terms up to 8.1e"}, id="squares"),
    pytest.param("{ y = Mul(x, x) }", {}, {"Mul0": "power"}, id="square of anything"),
    pytest.param("{ y = Sqrt(x) }", {"x": (0, 9)}, {"Sqrt0": "comes down to 0"}, id="root near 0"),
    pytest.param("{ y = Sqrt(x) }", {"x": (0.5, 9)}, {}, id="root"),
    pytest.param("{ y = Div(x, z) }", {"z": (-1, 1)}, {"Div0": "comes down to 0"}, id="division by 0"),
    pytest.param("{ y = Div(x, z) }", {"z": (1, 2)}, {}, id="division"),
    pytest.param("<float c = {1e-12}> { y = Add(x, c) }", {}, {"Add0": "as small as 1e-12"}, id="constant lost"),
    pytest.param("<float[3] c = {1e-9, 2e-9, 0.0}> { y = Gemm(x, w, c) }", {}, {}, id="a small bias"),
    pytest.param("<float[3] c = {1e6, 0.0, 0.0}> { y = Gemm(x, w, c) }", {}, {"Gemm0": "1e+06"}, id="a large bias"),
    pytest.param("<float c = {1e6}> { y = Div(x, c) }", {}, {"Div0": "reaches 1e+06"}, id="constant too large"),
    pytest.param(
        "<float c = {-3e38}> { m = Mul(z, c) y = Add(x, m) }",
        {"m": (0, 0), "y": (-1, 1)},
        {"Mul0": "3e+38", "Add1": "-3e+38"},
        id="a mask that no sample shows",
    ),
    pytest.param("<float l = {0.0}, float h = {3e38}> { y = Clip(x, l, h) }", {}, {}, id="bounds saturate"),
    pytest.param(
        "{ a = MatMul(x, w) l = Log(a) y = MatMul(l, w) }",
        {},
        {"MatMul0": "feeds Log", "Log1": "near 0"},
        id="all that a logarithm sees",
    ),
    pytest.param(
        "{ a = MatMul(x, w) s = Sigmoid(a) l = Log(s) y = MatMul(l, w) }",
        {},
        {"Log2": "comes down to 0"},
        id="a logarithm of a bounded value",
    ),
    pytest.param("{ y = Hardmax(x) }", {}, {"Hardmax0": "no rule"}, id="an op without a rule"),
]


@pytest.mark.parametrize("body, ranges, kept", KEPT)
def test_kept(body: str, ranges: dict[str, tuple[float, float]], kept: dict[str, str]) -> None:
    extra = {"w": np.eye(3, dtype=np.float32)} if re.search(r" w[,)]", body) else {}
    model = model_of(f"(float[2,3] x, float[2,3] z) => (float y) {body}".replace("float y", "float[A,B] y"), **extra)
    result = narrow(model, FLOAT16, {name: Range(*bounds) for name, bounds in ranges.items()})
    assert set(result.kept) == set(kept)
    assert all(text in result.kept[name] for name, text in kept.items()), result.kept
    assert {n for n, kind in result.precision.items() if kind == "float32"} == set(kept)
    sound(result.model)


@pytest.mark.parametrize(
    "narrowing, keep, observed, reason",
    [
        (FLOAT16, ("Mat*",), Observed(), "--keep-float Mat*"),
        (Narrowing("bfloat16", refused=frozenset({"MatMul"})), (), Observed(), "the target has no bfloat16 MatMul"),
        (FLOAT16, (), Observed(delicate={"MatMul0": "measured"}), "measured"),
    ],
)
def test_wishes(narrowing: Narrowing, keep: tuple[str, ...], observed: Observed, reason: str) -> None:
    model = model_of("(float[2,3] x) => (float[2,3] y) { a = MatMul(x, w) y = Gemm(a, w) }", w=W)
    assert narrow(model, narrowing, {}, keep, observed).kept == {"MatMul0": reason}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_io(dtype: str) -> None:
    model = model_of("(float[2,3] x, float[2,3] z) => (float[2,3] y) { a = MatMul(x, w) y = Add(a, z) }", w=W)
    narrowed = narrow(model, Narrowing(dtype, io=True), {"z": Range(0.0, 1e39 if dtype == "bfloat16" else 7e4)}).model
    kinds = {v.name: v.dtype.name.lower() for v in (*narrowed.graph.inputs, *narrowed.graph.outputs)}
    assert kinds == {"x": dtype, "z": "float", "y": dtype}
    sound(narrowed)


EXTRA = (
    Graph("shared bounds", "lo = Constant<value = float {0}>() a = Clip(x, lo) e = Exp(a) y = Clip(e, lo)"),
    Graph("norm", "y = LayerNormalization<axis = -1>(x, w)", (("w", (11,)),)),
)


@pytest.mark.parametrize("narrowing", [FLOAT16, BFLOAT16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("ranged", [False, True], ids=["rules", "ranges"])
@pytest.mark.parametrize("graph", [*GRAPHS, *EXTRA], ids=lambda graph: graph.name)
def test_precision_is_kept(graph: Graph, ranged: bool, narrowing: Narrowing) -> None:
    model = ir.from_proto(onnx.shape_inference.infer_shapes(graph.proto(), strict_mode=True))
    for index, node in enumerate(model.graph):
        node.name = f"{node.op_type}_{index}"
    feeds = seeded_feeds(model, 1)
    names = [v.name for n in model.graph for v in n.outputs if v.dtype == ir.DataType.FLOAT]
    seen = Session(model, outputs=names).run(feeds) if ranged else {}
    ranges = {name: Range(float(a.min()), float(a.max())) for name, a in seen.items()}
    result = narrow(model, narrowing, ranges)
    sound(result.model)
    expected, found = Session(model).run(feeds)["y"], Session(widen(result.model)).run(feeds)["y"]
    bar = 50.0 if narrowing is FLOAT16 else 32.0
    assert Sums.of(expected, found).sqnr_db >= bar
    if any(kind != "float32" for kind in result.precision.values()) and narrowing is FLOAT16:
        assert Session(result.model)._ort is not None


@pytest.mark.parametrize(
    "edges, expected",
    [
        ([("s", "a", 1), ("a", "t", 2)], {"s"}),
        ([("s", "a", 2), ("a", "t", 1)], {"s", "a"}),
        ([("s", "a", 1), ("a", "t", 1)], {"s"}),
        ([("s", "a", 3), ("s", "b", 1), ("a", "b", 1), ("a", "t", 1), ("b", "t", 4)], {"s", "a"}),
        ([("s", "a", UNCUT), ("a", "b", 2), ("b", "t", UNCUT), ("b", "c", 5)], {"s", "a"}),
    ],
)
def test_cut(edges: list[tuple[str, str, int]], expected: set[str]) -> None:
    assert source_side(edges, "s", "t") == expected


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 4)), max_size=14))
def test_cut_is_the_cheapest(edges: list[tuple[int, int, int]]) -> None:
    def cost(side: frozenset[int]) -> int:
        return sum(c for a, b, c in edges if a in side and b not in side)

    sides = [frozenset({0} | {n for n in range(1, 5) if bits >> n & 1}) for bits in range(32)]
    assert cost(frozenset(source_side(edges, 0, 5))) == min(cost(side) for side in sides)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1), st.sampled_from(["FLOAT16", "BFLOAT16"]))
@example([65519.0, 65504.0, 2.0**-14, -(2.0**-24), 2.0**-25, 3.3e38, -1e-40, 0.0], "FLOAT16")
@example([3.38e38, 1.0 + 2.0**-8, 1.0 + 3 * 2.0**-8, -1e-40, 2.0**-126], "BFLOAT16")
def test_float32_finds_the_numbers_of_a_narrower_type(numbers: list[float], dtype: str) -> None:
    kind = ir.DataType[dtype].numpy()
    largest = float(ml_dtypes.finfo(kind).max)
    found = np.clip(np.array(numbers, np.float32), -largest, largest)
    rounded = nearest(found, kind).astype(np.float32)
    assert_array_equal(held(found, kind), rounded)
    for beside in (rounded + steps(rounded, kind), rounded - steps(rounded, kind)):
        assert_array_equal(nearest(beside, kind).astype(np.float32), beside)
        assert np.all(np.isfinite(beside))


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 4]), st.sampled_from(["float16", "bfloat16"]))
@settings(max_examples=25, deadline=None)
def test_weights_keep_what_an_average_input_gives(seed: int, groups: int, dtype: str) -> None:
    rng, kind = np.random.default_rng(seed), ir.DataType[dtype.upper()].numpy()
    weight = rng.normal(0, 0.3, (8, 4, 3, 3)).astype(np.float32)
    means, bias = np.abs(rng.normal(1, 0.5, 4 * groups)), rng.normal(0, 3, 8).astype(np.float32)
    step = float(np.finfo(np.float16).eps if dtype == "float16" else 2.0**-7)

    def shift(narrow: np.ndarray) -> np.ndarray:
        each = np.repeat(means.reshape(groups, 4), 8 // groups, axis=0)
        errors = ((weight - narrow.astype(np.float64)).sum((2, 3)) * each).sum(1)
        return np.abs(errors + bias - nearest(bias, kind).astype(np.float64))

    found = rounded(weight, kind, Kernel(groups, means, bias))
    assert found.dtype == kind
    assert np.all(
        np.abs(found.astype(np.float64) - weight)
        <= 3 * step * np.maximum(np.abs(weight).max((2, 3), keepdims=True), 0.1)
    )
    assert shift(found).sum() < 0.3 * shift(nearest(weight, kind)).sum()


@given(st.lists(st.booleans(), min_size=3, max_size=9), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_any_choice_of_nodes_gives_a_sound_model(keep: list[bool], seed: int) -> None:
    ops = ["Relu", "MatMul", "Exp", "Transpose", "Add", "Tanh", "MatMul", "Neg", "Sigmoid"]
    rng, lines, last = np.random.default_rng(seed), [], ["x"]
    for index, _ in enumerate(keep):
        op = ops[int(rng.integers(len(ops)))]
        one, other = (last[int(rng.integers(len(last)))] for _ in range(2))
        lines.append(f"t{index} = {op}({one}{', w' if op == 'MatMul' else f', {other}' if op == 'Add' else ''})")
        last.append(f"t{index}")
    model = model_of(
        f"(float[3,3] x) => (float[3,3] {last[-1]}, float[3,3] t0) {{ {' '.join(lines)} }}",
        w=np.eye(3, dtype=np.float32),
    )
    names = [node.name or "" for node in model.graph]
    result = narrow(model, FLOAT16, {}, [name for name, kept in zip(names, keep, strict=True) if kept])
    sound(result.model)
    assert [v.name for v in result.model.graph.outputs] == [v.name for v in model.graph.outputs]
    assert not any(
        n.op_type == "Cast" and (m := n.inputs[0].producer()) is not None and m.op_type == "Cast"
        for n in result.model.graph
    )


def test_extents_of_what_nobody_observed() -> None:
    model = model_of(
        "(float[2,3] x) => (float[2,3] y) <float s = {0.5}, int8 z = {0}, float l = {-1.0}, float h = {6.0}> "
        "{ c = Clip(x, l, h) q = QuantizeLinear(c, s, z) d = DequantizeLinear(q, s, z) t = Transpose(c) y = Tanh(d) }"
    )
    found = {v.name: (r.lo, r.hi) for v, r in extents(model, {}, 1e4).items() if v.producer() is not None}
    assert found == {"c": (-1, 6), "d": (-64, 63.5), "t": (-1, 6), "y": (-1, 1)}


def test_samples_find_what_is_delicate(tmp_path: object) -> None:
    """A difference of nearly equal convolutions: only with the first of them in float32 is anything left of it."""
    rng = np.random.default_rng(3)
    k = rng.normal(0, 1, (4, 4, 3, 3)).astype(np.float32)
    body = "(float[N,4,9,9] x) => (float[N,4,P,Q] y) { a = Conv(x, k) b = Conv(x, j) d = Sub(a, b) y = Conv(d, i) }"
    model = model_of(body, k=k, j=k * np.float32(1.001), i=rng.normal(0, 9, (4, 4, 1, 1)).astype(np.float32))
    path = f"{tmp_path}/x.npz"
    np.savez(path, x=rng.normal(1, 1, (8, 4, 9, 9)).astype(np.float32))
    data = open_data(DataOptions(path), graph_inputs(model), 0)
    result = narrow_observed(model, FLOAT16, Known.of(model, data, collect(model, data)))
    feeds = next(iter(data.batches(8)))

    def decibel(narrowed: ir.Model) -> float:
        return Sums.of(Session(model).run(feeds)["y"], Session(widen(narrowed)).run(feeds)["y"]).sqnr_db

    assert decibel(narrow(model, FLOAT16, {}).model) < 30 and decibel(result.model) > 50
    assert {"Conv0", "Conv1"} <= set(result.kept) and "Conv3" not in result.kept


@pytest.mark.parametrize("number", [1.0, 1e-9, 1e6])
@pytest.mark.parametrize("form", [FLOAT16, BFLOAT16], ids=["float16", "bfloat16"])
def test_a_constant_of_one_value_is_judged_as_if_written_out(form: Narrowing, number: float) -> None:
    kept = []
    for weight in (np.full((8, 8), number, np.float32), ir.splat(np.float32(number), (8, 8))):
        model = model_of("(float[2,8] x) => (float[2,8] y) { y = MatMul(x, w) }", w=np.ones((8, 8), np.float32))
        node = model.graph[0]
        node.replace_input_with(1, ir.initializer(model.graph, "v", weight))
        kept.append(dict(narrow(model, form, {}).kept))
        assert [extent for value, extent in extents(model, {}, 1e5).items() if value.name == "v"]
    assert kept[0] == kept[1]
    assert bool(kept[0]) == (number != 1.0 and form is FLOAT16)
