"""What is told to be slow before a build is what the runtimes then do not take over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import conformance
import graphs
import pytest
from artifacts import Artifacts

from effc.backends import base
from effc.backends.tflite.backend import FILE_NAME
from effc.backends.tflite.delegated import cautions
from effc.backends.tflite.runner import LiteRTRunner
from effc.backends.tvm.ops import families  # noqa: F401  (fills the tables)
from effc.backends.tvm.ops.table import FAMILIES, INTEGER
from effc.backends.tvm.plan.views import _RULES as VIEWS
from effc.backends.tvm.schedules.expressions import TABLE as EXPRESSIONS
from effc.backends.tvm.taken import FIXED, IMPORTED, SCHEDULED
from effc.core.errors import UnsupportedOps
from effc.core.target import Target

FLOAT, INT8 = Target.parse("tflite-fp32"), Target.parse("tflite-int8")
CLAMPS = {"MAXIMUM", "MINIMUM"}
"""What cuts an int8 output where its range, which calibration tells, reaches beyond a clamp."""


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Artifacts]:
    """Builds, and the child that they use."""
    with Artifacts(tmp_path_factory.mktemp("cautions")) as made:
        yield made


def outside(folder: Path) -> set[str]:
    """The operators that XNNPACK leaves to LiteRT's own kernels."""
    return {operator.op for operator in LiteRTRunner(folder, FILE_NAME, 1).operators() if not operator.delegated}


@pytest.mark.parametrize("graph", graphs.GRAPHS, ids=lambda graph: graph.name)
def test_float_kernels_outside_the_delegate_are_told(artifacts: Artifacts, graph: graphs.Graph) -> None:
    told = list(cautions(artifacts.legal(graph, FLOAT).model.graph))
    assert bool(told) == bool(outside(artifacts.build(graph, FLOAT).folder))


@pytest.mark.parametrize("graph", graphs.GRAPHS, ids=lambda graph: graph.name)
def test_integer_kernels_outside_the_delegate_are_told(artifacts: Artifacts, graph: graphs.Graph) -> None:
    moved = graph.behind_a_kernel()
    try:
        folder = artifacts.build(moved, INT8).folder
    except UnsupportedOps:
        return
    told = list(cautions(artifacts.legal(moved, INT8).model.graph))
    assert bool(told) == bool(outside(folder) - CLAMPS)


UNTOLD = ("_empty_set", "_noop")
"""In names of reductions over nothing or over no axis, which nobody deploys."""
EACH = 2


def samples() -> Iterator[str]:
    """Node tests that pass, a few of each op."""
    seen: Counter[str] = Counter()
    for name in conformance.listed(str(FLOAT)):
        op = conformance.cases()[name].model.graph.node[-1].op_type
        seen[op] += 1
        if seen[op] <= EACH and not any(part in name for part in UNTOLD):
            yield name


def test_node_tests_outside_the_delegate_are_told(tmp_path: Path) -> None:
    wrong = []
    for name in samples():
        folder = tmp_path / name
        folder.mkdir()
        legal = conformance.legalized(conformance.cases()[name], FLOAT)
        base.for_target(FLOAT).emit(legal, FLOAT, base.EmitOptions(), folder)
        told, found = {caution.op for caution in cautions(legal.graph)}, outside(folder)
        wrong += [(name, told, found)] if bool(told) != bool(found) else []
    assert not wrong


def test_the_table_of_schedules_is_that_of_the_schedules() -> None:
    assert {*FAMILIES, *INTEGER, *VIEWS, *EXPRESSIONS} == SCHEDULED
    assert FIXED <= IMPORTED
