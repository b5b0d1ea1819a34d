"""Every kernel of every target against ONNX Runtime without optimizations: float by SQNR, int8 by steps."""

from __future__ import annotations

from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest
from artifacts import Artifacts

from effc.backends import base
from effc.compiler import metrics
from effc.core.target import Target

TARGETS = [Target.parse(info.name) for backend in base.find().values() for info in backend.targets()]
FLOAT = [target for target in TARGETS if not target.quantized]
INTEGER = [target for target in TARGETS if target.quantized]
BY_NAME = {graph.name: graph for graph in graphs.GRAPHS}


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


@pytest.mark.parametrize("target", INTEGER, ids=str)
@pytest.mark.parametrize("name", BY_NAME)
def test_integer_kernel_is_within_a_step_of_its_qdq_graph(artifacts: Artifacts, name: str, target: Target) -> None:
    graph = BY_NAME[name]
    made = artifacts.build(graph, target)
    worst = max(made.steps_apart(graph.samples(1, seed)) for seed in range(3))
    assert worst <= 1


@pytest.mark.parametrize("target", INTEGER, ids=str)
@pytest.mark.parametrize("name", BY_NAME)
def test_integer_kernel_stays_near_float(artifacts: Artifacts, name: str, target: Target) -> None:
    graph = BY_NAME[name]
    made = artifacts.build(graph, target)
    feeds = graph.samples(1, seed=1)
    assert metrics.sqnr_db(made.oracle(feeds)["y"], made.run(feeds)["y"]) >= 25


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
