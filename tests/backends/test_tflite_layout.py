"""The layout solver: no labelling of the free nodes moves fewer elements, and known graphs get no inner TRANSPOSE."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from artifacts import Artifacts
from graphs import GRAPHS, IMAGE, Graph

from effc.backends.tflite import layout
from effc.backends.tflite.layout import Side
from effc.backends.tflite.runner import LiteRTRunner
from effc.compiler import ir
from effc.core.target import Target

CONV = "Conv<pads = [1,1,1,1]>"
MIXED = (
    Graph(
        "reshape_between",
        f"a = {CONV}(x, w) s = Constant<value_ints = [1,8,11,9]>() b = Reshape(a, s) r = Relu(b) y = {CONV}(r, w)",
        (("w", (8, 8, 3, 3)),),
    ),
    Graph("free_chain", "a = Relu(x) b = Sigmoid(a) y = Tanh(b)"),
    Graph(
        "free_after_conv",
        f"a = {CONV}(x, w) b = Relu(a) c = Sigmoid(b) m = MatMul(c, v) y = Add(m, m)",
        (("w", (8, 8, 3, 3)), ("v", (11, 11))),
    ),
    Graph(
        "two_readers",
        f"a = Relu(x) b = {CONV}(a, w) s = Softmax<axis = 3>(a) t = Sigmoid(s) y = Add(b, t)",
        (("w", (8, 8, 3, 3)),),
    ),
    Graph(
        "diamond",
        f"a = {CONV}(x, w) b = Relu(a) c = Sigmoid(a) s = Softmax<axis = 2>(b) d = Add(s, c) y = Add(d, b)",
        (("w", (8, 8, 3, 3)),),
    ),
)


def moved(graph: ir.Graph, labels: dict[ir.Node, bool]) -> int:
    """Elements transposed when the free nodes run channels-last as `labels` says, counted from the definition."""

    def last(node: ir.Node, side: Side) -> bool:
        return labels[node] if side is Side.FREE else side is Side.LAST

    total = 0
    for value in [*graph.inputs, *(v for node in graph for v in node.outputs)]:
        producer, dims = value.producer(), ir.static_shape(value) or ()
        made = producer is not None and last(producer, layout.sides(producer)[1])
        readers = {last(node, layout.sides(node)[0]) for node in value.consumers()}
        readers |= {False} if value.is_graph_output() else set()
        still = len(dims) < 3 or dims[1] == 1 or math.prod(dims[2:]) == 1
        total += 0 if still or readers <= {made} else math.prod(dims)
    return total


def labellings(graph: ir.Graph) -> Iterator[dict[ir.Node, bool]]:
    free = [node for node in graph if Side.FREE in layout.sides(node)]
    for bits in itertools.product((False, True), repeat=len(free)):
        yield dict(zip(free, bits, strict=True))


@pytest.mark.parametrize("graph", MIXED, ids=lambda graph: graph.name)
def test_no_labelling_moves_less(graph: Graph, tmp_path: Path) -> None:
    with Artifacts(tmp_path) as artifacts:
        model = artifacts.legal(graph, Target.parse("tflite-fp32")).model.graph
    solved = layout.solve(model, native=False)
    chosen = {node: solved.of(node.outputs[0]) for node in model if Side.FREE in layout.sides(node)}
    costs = [moved(model, labels) for labels in labellings(model)]
    assert moved(model, chosen) == min(costs)
    assert graph.name in ("free_chain", "reshape_between") or min(costs) < max(costs)


BORDER = {
    "conv_relu6": 2,
    "residual": 2,
    "squeeze_excite": 2,
    "flatten_gemm": 1,
    "global_average": 1,
    "add": 0,
}


@pytest.mark.parametrize("name", BORDER)
@pytest.mark.parametrize("target", ["tflite-fp32", "tflite-int8"])
def test_transpositions_stand_at_the_border(name: str, target: str, tmp_path: Path) -> None:
    graph = next(graph for graph in GRAPHS if graph.name == name)
    with Artifacts(tmp_path) as artifacts:
        made = artifacts.build(graph, Target.parse(target))
    ops = LiteRTRunner(made.folder, "model.tflite", 1).op_types()
    assert sum(count for (op, _), count in ops.items() if op == "TRANSPOSE") <= BORDER[name]


def test_what_is_not_delegated_is_counted(tmp_path: Path) -> None:
    graph = Graph(
        "floored",
        f"a = {CONV}(x, w) b = Relu(a) s = Constant<value_ints = [1]>() t = ReduceProd(b, s) y = Relu(t)",
        (("w", (8, 8, 3, 3)),),
        (("x", IMAGE),),
    )
    with Artifacts(tmp_path) as artifacts:
        made = artifacts.build(graph, Target.parse("tflite-fp32"))
    facts = LiteRTRunner(made.folder, "model.tflite", 1).facts()
    assert facts["ops_builtin"] == "REDUCE_PROD 1"
    assert facts["ops_total"] - facts["ops_delegated"] == 1
