"""Every kernel of every target against ONNX Runtime without optimizations: float by SQNR, int8 by steps."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest
from artifacts import Artifacts, running

from effc.backends.tflite.runner import LiteRTRunner
from effc.compiler import metrics
from effc.core.errors import UnsupportedOps
from effc.core.target import Target

TARGETS = running()
FLOAT = [target for target in TARGETS if not target.quantized]
INTEGER = [target for target in TARGETS if target.quantized]
BY_NAME = {graph.name: graph for graph in graphs.GRAPHS}
QUANTIZED = BY_NAME | {f"{name}_behind_a_kernel": graph.behind_a_kernel() for name, graph in BY_NAME.items()}
MOVES = (
    *("concat_channels", "depth_to_space", "expand_of_batch", "expand_of_batch_by_rank", "gather_from_the_end"),
    *(
        "max_pool",
        "max_pool_ceil",
        "max_pool_padded",
        "pad",
        "reduce_max",
        "reshape",
        "resize_linear",
        "resize_nearest",
    ),
    *("slice", "slice_backwards", "slice_backwards_from_before", "slice_of_batch", "space_to_depth", "split"),
    *("transpose", "transpose_rank_5", "relu_alone", "clip_alone", "clip_above_zero", "concat_of_sigmoid"),
)
"""They only move or clamp data, so that nothing is quantized for their own sake: tested behind an arithmetic kernel."""
FLOAT_ONLY = {
    "tflite-int8": {"prelu", "softmax_channels", "softmax_width"},
    "tvm-x86-int8": {
        *("add", "add_per_channel", "add_rank_5", "add_relu", "average_pool", "average_pool_ceil"),
        *("average_pool_ceil_counted", "average_pool_counted", "average_pool_uncounted", "average_pool_uneven"),
        *("batch_norm_alone", "clip_of_sum_in_concat", "conv_transpose", "conv_transpose_full"),
        *("conv_transpose_output_padding", "conv_transpose_output_shape", "div_constant", "gemm_scaled"),
        *("global_average", "leaky_relu", "mul", "mul_per_channel", "prelu", "product_of_two_relu", "reduce_mean_flat"),
        *("sigmoid_alone", "softmax_channels", "softmax_width", "sub"),
        *(f"{name}_behind_a_kernel" for name in MOVES),
    },
    "ort-int8": {
        *("average_pool_ceil_counted", "batch_norm_alone", "conv_transpose", "conv_transpose_full", "div_constant"),
        *("conv_transpose_output_padding", "conv_transpose_output_shape", "gemm_scaled", "prelu", "sigmoid_alone"),
        *("softmax_channels", "softmax_width", "sub"),
    },
}
"""Nothing in them has an integer kernel: the build is refused, since it would hold none."""
INTEGER_NAMES = sorted(BY_NAME.keys() - set(MOVES)) + [f"{name}_behind_a_kernel" for name in MOVES]
INTEGER_CASES = [(n, t) for n in INTEGER_NAMES for t in INTEGER if n not in FLOAT_ONLY[str(t)]]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Builds and runs in one child."""
    with Artifacts(tmp_path_factory.mktemp("kernels")) as made:
        yield made


@pytest.mark.parametrize("target", FLOAT, ids=str)
@pytest.mark.parametrize("name", BY_NAME)
def test_float_kernel_equals_the_oracle(artifacts: Artifacts, name: str, target: Target) -> None:
    graph = BY_NAME[name]
    made = artifacts.build(graph, target)
    feeds = graph.samples(1, seed=3)
    expected, found = made.oracle(feeds), made.run(feeds)
    assert metrics.sqnr_db(expected["y"], found["y"]) >= 90


@pytest.mark.parametrize(("name", "target"), INTEGER_CASES, ids=str)
def test_integer_kernel_is_within_a_step_of_its_qdq_graph(artifacts: Artifacts, name: str, target: Target) -> None:
    graph = QUANTIZED[name]
    made = artifacts.build(graph, target)
    worst = max(made.steps_apart(graph.samples(1, seed)) for seed in range(3))
    assert worst <= 1


@pytest.mark.parametrize(("name", "target"), INTEGER_CASES, ids=str)
def test_integer_kernel_stays_near_float(artifacts: Artifacts, name: str, target: Target) -> None:
    graph = QUANTIZED[name]
    made = artifacts.build(graph, target)
    feeds = graph.samples(1, seed=1)
    assert metrics.sqnr_db(made.oracle(feeds)["y"], made.run(feeds)["y"]) >= 25


@pytest.mark.parametrize("name", MOVES)
def test_what_moves_data_moves_bytes(artifacts: Artifacts, name: str) -> None:
    made = artifacts.build(QUANTIZED[f"{name}_behind_a_kernel"], Target.parse("tflite-int8"))
    ops = LiteRTRunner(made.folder, "model.tflite", 1).op_types()
    assert {op for op, dtype in ops if dtype == "float32"} <= {"DEQUANTIZE"}


@pytest.mark.parametrize(("name", "target"), [(n, t) for t in INTEGER for n in sorted(FLOAT_ONLY[str(t)])], ids=str)
def test_without_an_integer_kernel_it_is_refused(artifacts: Artifacts, name: str, target: Target) -> None:
    with pytest.raises(UnsupportedOps, match="not one of its nodes can run quantized"):
        artifacts.build(QUANTIZED[name], target)


def test_every_graph_is_valid() -> None:
    for graph in graphs.GRAPHS:
        onnx.checker.check_model(onnx.shape_inference.infer_shapes(graph.proto(), strict_mode=True))


def test_batch_stays_dynamic(artifacts: Artifacts) -> None:
    graph = graphs.Graph("dynamic", BY_NAME["residual"].body, BY_NAME["residual"].weights, (("x", ("N", 8, 9, 11)),))
    for target in TARGETS:
        made = artifacts.build(graph, target)
        feeds = graph.samples(3)
        assert np.asarray(made.run(feeds)["y"]).shape == (3, 8, 9, 11)


def test_two_emissions_give_the_same_bytes(artifacts: Artifacts, tmp_path: Path) -> None:
    for target in TARGETS:
        first, second = (artifacts.build(BY_NAME["residual"], target, fresh=True).main_bytes() for _ in range(2))
        assert first == second
