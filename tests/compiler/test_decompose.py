"""Rules that write one node as several, tried alone: equal outputs, and what they do not take they leave as it is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx.parser
import pytest

from effc.compiler import ir, oracle, phase, upgrade
from effc.compiler.decompose import activations, norms, reductions
from effc.compiler.decompose.linear import gemm_form
from effc.compiler.decompose.scores import scores
from effc.compiler.metrics import sqnr_db
from effc.compiler.passes.rewrite import each
from effc.compiler.settle import settle

W = np.arange(12, dtype=np.float32).reshape(3, 4)
GEMMS = [
    ("Gemm(x, w, b)", None),
    ("Gemm<alpha=2.0>(x, w)", ["Gemm"]),
    ("Gemm<alpha=2.0, beta=0.5>(x, w, b)", ["Gemm"]),
    ("Gemm<alpha=2.0, transB=1>(x, v)", ["Gemm"]),
    ("Gemm<transA=1>(t, w, b)", ["Transpose", "Gemm"]),
    ("Gemm<transA=1>(t, w, z)", None),
    ("Gemm<alpha=2.0>(x, u)", None),
]


@pytest.mark.parametrize(("call", "after"), GEMMS)
def test_gemm_form(call: str, after: list[str] | None) -> None:
    """A bias or a weight that is computed leaves the node, and no trace of a try."""
    head = "(float[2,3] x, float[3,2] t, float[2,4] z, float[3,4] u) => (float[2,4] y)"
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> g {head} {{ y = {call} }}')
    constants = {"w": W, "v": W.T.copy(), "b": W[0]}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in constants.items())
    model = ir.from_proto(proto)
    before = ir.to_bytes(model)
    assert gemm_form(model.graph[0]) is (after is not None)
    if after is None:
        assert ir.to_bytes(model) == before
        return
    assert [node.op_type for node in model.graph] == after
    assert {"alpha", "beta", "transA"}.isdisjoint(model.graph[-1].attributes)
    feeds = oracle.seeded_feeds(proto, 1)
    np.testing.assert_allclose(
        oracle.Session(model).run(feeds)["y"], oracle.Session(proto).run(feeds)["y"], rtol=1e-5, atol=1e-5
    )


RULES = (
    *(activations.hard_sigmoid, activations.hard_swish, activations.mish, activations.softplus, activations.softsign),
    *(activations.celu, activations.scaled_elu, activations.thresholded_relu, activations.shrink),
    *(norms.layer_norm, norms.group_norm, norms.instance_norm, norms.mean_variance, norms.lp_norm),
    *(reductions.global_lp_pool, reductions.reduced, reductions.log_sum_exp),
)
PHASES = (phase.Phase("decompose", tuple(phase.Step(rule.__name__, each(rule)) for rule in RULES), rounds=3),)
ROWS, IMAGES, HALF = "float[N,6,8]", "float[N,6,4,5]", "float16[N,6,8]"
S8, B8 = np.linspace(0.5, 1.5, 8, dtype=np.float32), np.linspace(-1, 1, 8, dtype=np.float32)
OF_ROWS = {"s": S8, "b": B8}
OF_TWO = {"s": np.outer(S8[:6], S8), "b": np.outer(B8[:6], B8)}
OF_HALF = {"s": S8.astype(np.float16), "b": B8.astype(np.float16)}
OF_CHANNELS = {"s": S8[:6], "b": B8[:6]}
NONE: dict[str, np.ndarray] = {}
LAST, FIRST, NO_AXES = (np.array(axes, np.int64) for axes in ([-1], [1], []))
REDUCED = ("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare")
CASES: list[tuple[str, str, Mapping[str, np.ndarray]]] = [
    *((ROWS, f"{op}(x)", NONE) for op in ("Softplus", "Mish", "Softsign", "Celu", "Selu", "HardSigmoid", "HardSwish")),
    (ROWS, "Celu<alpha=0.3>(x)", NONE),
    (ROWS, "Elu<alpha=0.3>(x)", NONE),
    (ROWS, "Selu<alpha=0.5, gamma=2.0>(x)", NONE),
    (ROWS, "Selu<gamma=1.0>(x)", NONE),
    (ROWS, "ThresholdedRelu<alpha=0.4>(x)", NONE),
    (ROWS, "ThresholdedRelu(x)", NONE),
    (ROWS, "Shrink<lambd=0.4, bias=0.2>(x)", NONE),
    (ROWS, "Shrink(x)", NONE),
    (HALF, "Softplus(x)", NONE),
    (HALF, "Selu(x)", NONE),
    (ROWS, "LayerNormalization(x, s, b)", OF_ROWS),
    (ROWS, "LayerNormalization(x, s)", OF_ROWS),
    (ROWS, "LayerNormalization<axis=1, epsilon=0.01>(x, s, b)", OF_TWO),
    (ROWS, "LayerNormalization<axis=-2, epsilon=0.0>(x, s)", OF_TWO),
    (HALF, "LayerNormalization(x, s, b)", OF_HALF),
    (HALF, "LayerNormalization<stash_type=10>(x, s, b)", OF_HALF),
    (IMAGES, "InstanceNormalization(x, s, b)", OF_CHANNELS),
    (ROWS, "InstanceNormalization<epsilon=0.1>(x, s, b)", OF_CHANNELS),
    (IMAGES, "GroupNormalization<num_groups=3>(x, s, b)", OF_CHANNELS),
    (IMAGES, "GroupNormalization<num_groups=6, epsilon=0.1>(x, s, b)", OF_CHANNELS),
    (ROWS, "GroupNormalization<num_groups=1>(x, s, b)", OF_CHANNELS),
    ("float[N,6,H,W]", "GroupNormalization<num_groups=2>(x, s, b)", OF_CHANNELS),
    (IMAGES, "MeanVarianceNormalization<axes=[0, 2, 3]>(x)", NONE),
    (IMAGES, "MeanVarianceNormalization<axes=[2, 3]>(x)", NONE),
    *((ROWS, f"LpNormalization<axis={axis}, p={p}>(x)", NONE) for axis in (-1, 1, 2) for p in (1, 2)),
    (ROWS, "LpNormalization(x)", NONE),
    *((ROWS, f"{op}(x, a)", {"a": axes}) for op in REDUCED for axes in (LAST, FIRST)),
    *((ROWS, f"{op}<keepdims=0>(x, a)", {"a": LAST}) for op in REDUCED),
    *((ROWS, f"{op}(x)", NONE) for op in REDUCED),
    (HALF, "ReduceL2(x, a)", {"a": LAST}),
    (IMAGES, "GlobalLpPool(x)", NONE),
    (IMAGES, "GlobalLpPool<p=1>(x)", NONE),
]


def parsed(graph: str, weights: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """The model of a text with these weights; shapes of outputs are inferred."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> g {graph}')
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    for tensor in (value.type.tensor_type for value in proto.graph.output):
        if not tensor.shape.dim:
            tensor.ClearField("shape")
    return upgrade.infer(proto)


def model_of(dtype: str, call: str, weights: Mapping[str, np.ndarray], more: str = "") -> onnx.ModelProto:
    outputs = "".join(f", float {name}" for name in more.split())
    names = ", ".join(["y", *more.split()])
    result = dtype if "Normalization" in call else dtype.partition("[")[0]
    return parsed(f"({dtype} x) => ({result} y{outputs}) {{ {names} = {call} }}", weights)


def assert_written_out(proto: onnx.ModelProto, spread: float = 3.0, least: float = 110.0) -> None:
    model = ir.from_bytes(proto.SerializeToString())
    settle(model, where="test")
    op = model.graph[0].op_type
    phase.run(model, PHASES)
    assert all(node.op_type != op or ir.attr_float(node, "alpha", 1.0) == 1.0 for node in model.graph)
    for size in (1, 3):
        feeds = {
            k: (spread * v).astype(v.dtype)
            for k, v in oracle.seeded_feeds(proto, 1, {"N": size, "H": 4, "W": 3}).items()
        }
        before, after = oracle.Session(proto).run(feeds), oracle.Session(model).run(feeds)
        assert list(before) == list(after)
        for name, array in before.items():
            assert (array.dtype, array.shape) == (after[name].dtype, after[name].shape)
            assert sqnr_db(array, after[name]) > (least if array.dtype == np.float32 else 55.0), name


@pytest.mark.parametrize(("dtype", "call", "weights"), CASES, ids=[f"{d} {c}" for d, c, _ in CASES])
def test_larger_ops_are_written_out(dtype: str, call: str, weights: Mapping[str, np.ndarray]) -> None:
    assert_written_out(model_of(dtype, call, weights))


@pytest.mark.parametrize("op", ["Softplus", "Mish", "Celu", "Selu"])
def test_far_values_neither_overflow_nor_vanish(op: str) -> None:
    assert_written_out(model_of(ROWS, f"{op}(x)", NONE), spread=1000.0)


def test_sums_of_exponentials_of_far_values() -> None:
    assert_written_out(model_of(ROWS, "ReduceLogSumExp(x, a)", {"a": LAST}), spread=1000.0)


def test_a_row_of_minus_infinities_has_the_logarithm_of_nothing() -> None:
    proto = model_of(ROWS, "ReduceLogSumExp<keepdims=0>(x, a)", {"a": LAST})
    model = ir.from_bytes(proto.SerializeToString())
    phase.run(model, PHASES)
    found = oracle.Session(model).run({"x": np.full((1, 6, 8), -np.inf, np.float32)})["y"]
    assert (found == -np.inf).all()


def test_vectors_of_zeros_have_no_direction() -> None:
    model = ir.from_bytes(model_of(ROWS, "LpNormalization(x)", NONE).SerializeToString())
    phase.run(model, PHASES)
    assert not oracle.Session(model).run({"x": np.zeros((1, 6, 8), np.float32)})["y"].any()


def test_sums_of_logarithms() -> None:
    text = f"({ROWS} x) => (float y) {{ p = Exp (x) y = ReduceLogSum<keepdims=0> (p, a) }}"
    proto = parsed(text, {"a": LAST})
    model = ir.from_bytes(proto.SerializeToString())
    phase.run(model, PHASES)
    assert [node.op_type for node in model.graph] == ["Exp", "ReduceSum", "Log"]
    feeds = oracle.seeded_feeds(proto, 1)
    assert sqnr_db(oracle.Session(proto).run(feeds)["y"], oracle.Session(model).run(feeds)["y"]) > 110.0


@pytest.mark.parametrize("rule", [norms.layer_norm, norms.layer_norm_moments])
@pytest.mark.parametrize("axis", [-1, 1])
def test_moments_keep_their_names(rule: object, axis: int) -> None:
    proto = model_of(
        ROWS,
        f"LayerNormalization<axis={axis}>(x, s, b)",
        OF_ROWS if axis < 0 else OF_TWO,
        "mean inverse",
    )
    model = ir.from_bytes(proto.SerializeToString())
    settle(model, where="test")
    phase.run(model, (phase.Phase("one", (phase.Step("rule", each(rule)),)),))
    assert "LayerNormalization" not in {node.op_type for node in model.graph}
    feeds = oracle.seeded_feeds(proto, 1)
    before, after = oracle.Session(proto).run(feeds), oracle.Session(model).run(feeds)
    assert list(before) == list(after) == ["y", "mean", "inverse"]
    assert all(sqnr_db(before[name], after[name]) > 110.0 for name in before)


LEFT = [
    ("double[2,6,8]", "LayerNormalization(x, s)", {"s": S8.astype(np.float64)}),
    (ROWS, "Elu(x)", NONE),
    (ROWS, "ReduceL1<noop_with_empty_axes=1>(x)", NONE),
    (ROWS, "ReduceL2<noop_with_empty_axes=1>(x, a)", {"a": NO_AXES}),
    ("int32[2,6]", "ReduceL1(x)", NONE),
    (IMAGES, "GlobalLpPool<p=3>(x)", NONE),
]


@pytest.mark.parametrize(("dtype", "call", "weights"), LEFT, ids=[call for _, call, _ in LEFT])
def test_what_no_rule_takes_stays(dtype: str, call: str, weights: Mapping[str, np.ndarray]) -> None:
    model = ir.from_bytes(model_of(dtype, call, weights).SerializeToString())
    before = ir.to_bytes(model)
    assert not phase.run(model, PHASES)
    assert ir.to_bytes(model) == before


def test_normalizations_without_moments_stay_whole() -> None:
    model = ir.from_bytes(model_of(ROWS, "LayerNormalization(x, s, b)", OF_ROWS).SerializeToString())
    assert not norms.layer_norm_moments(model.graph[0])


SCORES = [
    ("float[1,2,4,4]", "Add(x, m)", True),
    ("float[1,2,4,4]", "Relu(x)", False),
    ("float[4,4]", "Add(x, m)", False),
]


@pytest.mark.parametrize(("dtype", "call", "kept"), SCORES)
def test_scores_keep_floats(dtype: str, call: str, kept: bool) -> None:
    text = f"({dtype} x) => (float y) {{ z = {call} y = Softmax (z) }}"
    proto = parsed(text, {"m": np.full((4, 4), -1e4, np.float32)})
    model = ir.from_proto(proto)
    assert scores(model.graph[-1]) is kept
    assert (model.graph[0].outputs[0].metadata_props.get(ir.RANGE_PROPERTY) == ir.NO_RANGE) is kept
    assert not scores(model.graph[-1])
