"""Graphs that TFLite's kernels would compute wrongly, or not at all: refused before anything is written."""

from __future__ import annotations

import pytest
from graphs import IMAGE, Graph

from effc import stages
from effc.compiler import ir, phase, upgrade
from effc.compiler.passes import SIMPLIFY
from effc.compiler.settle import settle
from effc.core.errors import UnsupportedOps
from effc.core.target import Target

BATCH = (("x", ("N", 4, 5)),)
FRACTION = "s = Constant<value_floats = [1.0,1.0,1.6,1.3]>()"
REFUSALS = (
    (Graph("no_inputs", "y = Constant<value_floats = [1.0,2.0]>()", inputs=()), "has no inputs"),
    (Graph("prelu", "y = PRelu(x, s)", (("s", (2, 3, 4)),), (("x", (2, 3, 4)),)), "differs over the batch"),
    (Graph("gather", "i = Constant<value_int = -1>() y = Gather(x, i)", inputs=BATCH), "counts from the end"),
    (Graph("split", "a, b = Split<num_outputs = 2>(x) y = Concat<axis = 0>(b, a)", inputs=BATCH), "symbolic size"),
    (
        Graph(
            "slice",
            "s = Constant<value_ints = [-1]>() e = Constant<value_ints = [-99]>() a = Constant<value_ints = [0]>() y = Slice(x, s, e, a, s)",  # noqa: E501
            inputs=BATCH,
        ),
        "symbolic dims",
    ),
    (Graph("linear", f'{FRACTION} y = Resize<mode = "linear">(x, , s)'), "give it sizes"),
    (Graph("nearest", f'{FRACTION} y = Resize<mode = "nearest">(x, , s)'), "no TFLite form"),
    (
        Graph(
            "floor",
            f'{FRACTION} y = Resize<coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(x, , s)',
        ),
        "give it sizes",
    ),
    (
        Graph(
            "pool",
            "y = MaxPool<kernel_shape = [1,1], strides = [2,2], ceil_mode = 1>(x)",
            inputs=(("x", (1, 8, 10, 12)),),
        ),
        "behind its input",
    ),
    (
        Graph(
            "output_shape", "y = ConvTranspose<strides = [2,2], output_shape = [20,22]>(x, w)", (("w", (8, 6, 3, 3)),)
        ),
        "output_shape reaches beyond",
    ),
    (Graph("column", "y = Gemm(x, w, b)", (("w", (24, 5)), ("b", (5, 1))), (("x", (5, 24)),)), "not a bias"),
    (
        Graph("column_add", "m = MatMul(x, w) y = Gemm(x, w, m)", (("w", (24, 5)),), (("x", (5, 24)),)),
        "not a bias",
    ),
    (Graph("conv", "y = Conv(x, z)", inputs=(("x", (1, 8, 17)), ("z", (8, 8, 3)))), "not 4"),
    (Graph("stack", "y = PRelu(x, z)", inputs=(("x", IMAGE), ("z", IMAGE))), "must be constant"),
)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize(("graph", "reason"), REFUSALS, ids=[graph.name for graph, _ in REFUSALS])
def test_a_refusal_says_why(graph: Graph, reason: str, precision: str) -> None:
    model = ir.from_bytes(upgrade.upgrade(graph.proto().SerializeToString(), ir.INTERNAL_OPSET))
    settle(model, where=graph.name)
    phase.run(model, SIMPLIFY)
    error = stages.legalize(model, Target.parse(f"tflite-{precision}"))
    assert isinstance(error, UnsupportedOps)
    assert reason in error.refusals[0].reason
