"""TVM's kernels on row-major tensors against ONNX Runtime without optimizations."""

from __future__ import annotations

import numpy as np
import pytest
from tvm_cases import Case, Outcomes, outcomes

from effc.backends.tvm.plan.denormals import without_denormals
from effc.compiler import ir, metrics

RANDOM = np.random.default_rng(0)


def drawn(*dims: int) -> np.ndarray:
    return RANDOM.standard_normal(dims)


PRODUCTS = [
    Case("matmul_row", "y = MatMul(a, w)", {"a": (1, 64)}, {"w": drawn(64, 200)}),
    Case("matmul_narrow", "y = MatMul(a, w)", {"a": (7, 33)}, {"w": drawn(33, 1)}),
    Case("matmul_ragged", "y = MatMul(a, w)", {"a": (45, 130)}, {"w": drawn(130, 50)}),
    Case("matmul_chunks", "y = MatMul(a, w)", {"a": (70, 1200)}, {"w": drawn(1200, 33)}),
    Case("matmul_batch", "t = MatMul(a, w); y = Relu(t)", {"a": ("N", 20, 17)}, {"w": drawn(17, 40)}),
    Case(
        "matmul_residual",
        "t = MatMul(a, w); u = Add(t, b); y = Add(r, u)",
        {"a": (1, 9, 16), "r": (1, 9, 48)},
        {"w": drawn(16, 48), "b": drawn(48)},
    ),
    Case("matmul_computed", "y = MatMul(a, b)", {"a": (2, 3, 20, 17), "b": (3, 17, 32)}),
    Case("matmul_computed_ragged", "y = MatMul(a, b)", {"a": ("N", 4, 20, 17), "b": ("N", 4, 17, 15)}),
    Case(
        "gemm",
        "y = Gemm<alpha=0.5, beta=2.0, transB=1>(a, w, c)",
        {"a": ("N", 33)},
        {"w": drawn(20, 33), "c": drawn(20)},
    ),
    Case("gemm_transposed", "y = Gemm<transA=1>(a, w)", {"a": (33, 6)}, {"w": drawn(33, 20)}),
    Case(
        "attention",
        "q = Reshape(a, s); p = Transpose<perm=[0,2,1,3]>(q); k = Transpose<perm=[0,2,3,1]>(q); t = MatMul(p, k);"
        "u = Div(t, c); m = Softmax<axis=-1>(u); o = MatMul(m, p);"
        "r = Transpose<perm=[0,2,1,3]>(o); y = Reshape(r, e)",
        {"a": (2, 20, 48)},
        {"s": np.array([2, 20, 4, 12]), "e": np.array([2, 20, 48]), "c": np.float32(3.5)},
    ),
    Case(
        "heads_split",
        "t = Reshape(a, s); u = Transpose<perm=[2,0,3,1,4]>(t); p, q, r = Split<axis=0, num_outputs=3>(u);"
        "p1 = Squeeze(p, z); q1 = Squeeze(q, z); r1 = Squeeze(r, z); k = Transpose<perm=[0,1,3,2]>(q1);"
        "m = MatMul(p1, k); y = MatMul(m, r1)",
        {"a": (2, 10, 60)},
        {"s": np.array([2, 10, 3, 4, 5]), "z": np.array([0])},
    ),
    Case("frames", "y = Conv<strides=[12]>(a, w)", {"a": (2, 1, 200)}, {"w": drawn(20, 1, 32)}),
    Case(
        "frames_turned",
        "t = Conv<strides=[1,5]>(a, w, b); u = Neg(t); y = Transpose<perm=[0,2,3,1]>(u)",
        {"a": ("N", 1, 1, 100)},
        {"w": drawn(9, 1, 1, 24), "b": drawn(9)},
    ),
    Case(
        "frames_scaled",
        "t = Conv<strides=[3]>(a, w); y = Mul(t, c)",
        {"a": (1, 1, 90)},
        {"w": drawn(5, 1, 20), "c": drawn(5, 1)},
    ),
]
ROWS = [
    Case("softmax", "y = Softmax<axis=-1>(a)", {"a": ("N", 40)}),
    Case("softmax_short", "y = Softmax<axis=-1>(a)", {"a": (3, 5)}),
    Case("softmax_long", "y = Softmax<axis=-1>(a)", {"a": (2, 20001)}),
    Case("softmax_middle", "y = Softmax<axis=1>(a)", {"a": (2, 7, 33)}),
    Case("softmax_first", "y = Softmax<axis=0>(a)", {"a": (5, 20)}),
    Case("softmax_of_large", "y = Softmax<axis=-1>(a)", {"a": np.array([[1e4, 1e4 + 1, -1e4, 0.0]])}),
    Case("log_softmax", "y = LogSoftmax<axis=-1>(a)", {"a": (4, 37)}),
    Case(
        "layer_norm", "y = LayerNormalization<axis=-1>(a, s, b)", {"a": ("N", 3, 70)}, {"s": drawn(70), "b": drawn(70)}
    ),
    Case("layer_norm_bare", "y = LayerNormalization<axis=-1, epsilon=0.01>(a, s)", {"a": (7, 5)}, {"s": drawn(5)}),
    Case(
        "layer_norm_by_parts",
        "m = ReduceMean(a, z); d = Sub(a, m); q = Pow(d, two); v = ReduceMean(q, z); e = Add(v, eps); r = Sqrt(e);"
        "n = Div(d, r); t = Mul(n, s); y = Add(t, b)",
        {"a": (2, 6, 50)},
        {"z": np.array([-1]), "two": np.float32(2), "eps": np.float32(1e-5), "s": drawn(50), "b": drawn(50)},
    ),
    Case(
        "layer_norm_without_scale",
        "m = ReduceMean(a, z); d = Sub(a, m); q = Mul(d, d); v = ReduceMean(q, z); e = Add(v, eps);"
        "r = Sqrt(e); y = Div(d, r)",
        {"a": (2, 6, 50)},
        {"z": np.array([-1]), "eps": np.float32(1e-5)},
    ),
]
REDUCED = [
    Case(
        f"{op}_{'_'.join(map(str, axes))}_{keep}",
        f"y = {op}<keepdims={keep}>(a, z)",
        {"a": dims},
        {"z": np.array(axes)},
    )
    for op, dims, axes, keep in [
        ("ReduceMean", (3, 5, 70), [-1], 0),
        ("ReduceMean", ("N", 5, 23), [1], 1),
        ("ReduceSum", (2, 3, 4, 40), [1, 3], 0),
        ("ReduceSum", (2, 3, 4, 40), [0, 2], 1),
        ("ReduceSum", (3, 4, 5), [0, 1, 2], 0),
        ("ReduceMax", (2, 3, 40), [2], 1),
        ("ReduceMin", (2, 3, 40), [1], 0),
        ("ReduceProd", (2, 3, 9), [1], 0),
        ("ReduceL1", (2, 33), [1], 0),
        ("ReduceL2", (2, 33), [1], 1),
        ("ReduceSumSquare", (2, 33), [1], 1),
    ]
] + [
    Case("sum_of_integers", "y = ReduceSum<keepdims=0>(a, z)", {"int:a": ("N", 7, 9)}, {"z": np.array([2])}),
    Case("max_of_integers", "y = ReduceMax<keepdims=0>(a, z)", {"long:a": ("N", 7, 9)}, {"z": np.array([1])}),
    Case(
        "mean_of_a_view",
        "t = Transpose<perm=[0,2,1]>(a); y = ReduceMean(t, z)",
        {"a": (2, 30, 4)},
        {"z": np.array([2])},
    ),
    Case(
        "pool_of_rows",
        "t = Reshape(a, s); u = GlobalMaxPool(t); y = Reshape(u, e)",
        {"a": (2, 60)},
        {"s": np.array([2, 5, 12]), "e": np.array([2, 5])},
    ),
    Case("arg_max", "y = ArgMax<axis=1, keepdims=0>(a)", {"long:a": (4, 6, 7)}),
    Case("arg_max_last", "y = ArgMax<axis=-1, select_last_index=1>(a)", {"long:a": (4, 6)}),
    Case("arg_min", "y = ArgMin<axis=0>(a)", {"a": (4, 6, 7)}),
]
MOVED = [
    Case("gather_rows", "y = Gather(w, i)", {"long:i": np.array([[0, -1, 3], [6, -7, 2]])}, {"w": drawn(7, 33)}),
    Case("gather_middle", "y = Gather<axis=1>(a, i)", {"a": (3, 7, 20), "long:i": np.array([5, 0])}),
    Case("gather_last", "y = Gather<axis=1>(a, i)", {"a": (3, 7), "int:i": np.array([[5, 0, 1]])}),
    Case("gather_one", "y = Gather<axis=1>(a, i)", {"a": ("N", 7, 5)}, {"i": np.array(-2)}),
    Case("gather_scalar", "y = Gather(a, i)", {"a": (7,)}, {"i": np.array(3)}),
    Case("concat", "y = Concat<axis=1>(a, b, c)", {"a": (2, 3, 20), "b": (2, 5, 20)}, {"c": drawn(2, 1, 20)}),
    Case("concat_last", "t = Concat<axis=-1>(a, b); y = Relu(t)", {"a": ("N", 3), "b": ("N", 40)}),
    Case("pad", "y = Pad(a, p, v)", {"a": (2, 3, 20)}, {"p": np.array([1, 0, 2, 0, 2, 1]), "v": np.float32(3.5)}),
    Case("pad_wide", "y = Pad(a, p)", {"a": ("N", 20)}, {"p": np.array([0, 2, 0, 17])}),
    Case("pad_cuts", "y = Pad(a, p)", {"a": (2, 3, 20)}, {"p": np.array([0, -1, -2, 0, 0, 1])}),
    Case("pad_integers", "y = Pad(a, p)", {"long:a": (9,)}, {"p": np.array([2, 3])}),
    Case(
        "slice",
        "t = Slice(a, b, e, x, s); y = Neg(t)",
        {"a": (2, 3, 20)},
        {"b": np.array([1, 15]), "e": np.array([3, -100]), "x": np.array([1, 2]), "s": np.array([1, -2])},
    ),
    Case("expand", "y = Expand(a, s)", {"a": (3, 1, 7)}, {"s": np.array([2, 3, 5, 7])}),
    Case("transpose", "y = Transpose<perm=[1,0]>(a)", {"a": (40, 50)}),
    Case("transpose_squares", "y = Transpose<perm=[0,3,2,1]>(a)", {"a": ("N", 33, 2, 40)}),
    Case("transpose_images", "y = Transpose<perm=[0,2,3,1]>(a)", {"a": ("N", 3, 4, 50)}),
    Case(
        "transpose_of_result",
        "t = Relu(a); u = Transpose<perm=[0,2,1]>(t); y = Reshape(u, s)",
        {"a": (2, 3, 20)},
        {"s": np.array([2, 60])},
    ),
    Case(
        "view_of_view",
        "t = Slice(a, b, e, x); u = Transpose<perm=[2,0,1]>(t); v = Unsqueeze(u, z); y = Exp(v)",
        {"a": (2, 30, 20)},
        {"b": np.array([3]), "e": np.array([9]), "x": np.array([1]), "z": np.array([1])},
    ),
    Case(
        "reshape_of_transposed",
        "t = Transpose<perm=[1,0,2]>(a); y = Reshape(t, s)",
        {"a": (4, 3, 5)},
        {"s": np.array([6, 10])},
    ),
]
HALF = [
    Case("half_matmul", "y = MatMul(a, w)", {"half:a": (5, 20)}, {"w": drawn(20, 33).astype(np.float16)}),
    Case("half_matmul_computed", "y = MatMul(a, b)", {"half:a": (2, 5, 20), "half:b": (2, 20, 17)}),
    Case("half_softmax", "y = Softmax<axis=-1>(a)", {"half:a": (5, 20)}),
    Case("half_softmax_first", "y = Softmax<axis=0>(a)", {"half:a": (5, 20)}),
    Case(
        "half_layer_norm",
        "y = LayerNormalization<axis=-1>(a, s)",
        {"half:a": (5, 40)},
        {"s": np.abs(drawn(40)).astype(np.float16)},
    ),
    Case("half_mean", "y = ReduceMean(a, z)", {"half:a": (5, 40)}, {"z": np.array([1])}),
    Case("half_sum", "y = ReduceSum(a, z)", {"half:a": (5, 4, 3)}, {"z": np.array([1])}),
    Case(
        "half_gate", "s = Sigmoid(a); t = Mul(a, s); u = Add(t, b); y = Tanh(u)", {"half:a": (5, 40), "half:b": (5, 1)}
    ),
]
COLUMNS = [
    Case(
        "conv_of_a_column",
        "t = Conv<pads=[2,0,1,0]>(a, w); u = Mul(t, s); y = Add(u, r)",
        {"a": (1, 32, 50, 1), "r": (1, 1, 49, 1)},
        {"w": drawn(40, 32, 5, 1), "s": drawn(40, 1, 1)},
    ),
    Case("conv_to_a_column", "y = Conv(a, w)", {"a": (2, 20, 50, 3)}, {"w": drawn(20, 20, 3, 3)}),
    Case(
        "depthwise_conv_of_a_column",
        "y = Conv<group=32, strides=[2,1]>(a, w)",
        {"a": ("N", 32, 50, 1)},
        {"w": drawn(32, 1, 3, 1)},
    ),
]
"""Images of one column are seen as images of one row."""
CASES = {case.name: case for case in (*PRODUCTS, *ROWS, *REDUCED, *MOVED, *HALF, *COLUMNS)}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return outcomes(tuple(CASES.values()), tmp_path_factory.mktemp("dense"))


@pytest.mark.parametrize("name", CASES)
def test_kernel_equals_the_oracle(results: Outcomes, name: str) -> None:
    outcome = results[name]
    assert (outcome.found.shape, outcome.found.dtype) == (outcome.expected.shape, outcome.expected.dtype)
    assert metrics.sqnr_db(outcome.expected, outcome.found) >= (60 if name.startswith("half") else 110)


def test_no_node_is_left_to_the_importer(results: Outcomes) -> None:
    assert results.operators == {"relax.call_tir", "relax.reshape"}


def test_denormal_weights_are_computed_as_zeros() -> None:
    weight = np.float32([[1.0, 1e-40], [-1e-45, -2.0]])
    model = ir.from_proto(Case("w", "y = MatMul(a, w)", {"a": (1, 2)}, {"w": weight}).model())
    held = ir.const(without_denormals(model).graph.initializers["w"])
    np.testing.assert_array_equal(held, np.float32([[1, 0], [0, -2]]))
    np.testing.assert_array_equal(ir.const(model.graph.initializers["w"]), weight)
