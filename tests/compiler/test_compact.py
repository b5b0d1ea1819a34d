"""Files say no more than they must: splats as nodes, windows and shapes that are understood left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from effc.compiler import ir, oracle
from effc.compiler.compact import compact, terse
from effc.compiler.passes.fold import stored_bytes
from effc.compiler.pipeline import Goal, prepare
from effc.compiler.settle import settle

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'


def splat_model() -> onnx.ModelProto:
    """Convolution, batch norm and product with weights of one value each, as ONNX ships its large networks."""
    text = """g (float[N,3,8,8] x) => (float[N,16,6,6] y)
    <int64[4] ws = {16,3,3,3}, int64[1] s = {16}> {
        w = ConstantOfShape<value = float[1] {0.02}>(ws)
        b = ConstantOfShape<value = float[1] {0.5}>(s)
        c = Conv(x, w, b)
        g1 = ConstantOfShape<value = float[1] {1.5}>(s)
        g2 = ConstantOfShape<value = float[1] {0.25}>(s)
        n = BatchNormalization(c, g1, g2, g2, g1)
        y = Relu(n)
    }"""
    return onnx.parser.parse_model(f"{HEAD}\n{text}")


@pytest.mark.parametrize(
    ("growth", "ops"),
    [
        (0.01, ["ConstantOfShape", "ConstantOfShape", "Conv", "Relu"]),
        (None, ["Conv", "Relu"]),
        (50.0, ["Conv", "Relu"]),
    ],
)
def test_splats_are_nodes_where_the_file_would_grow(growth: float | None, ops: list[str], tmp_path: Path) -> None:
    path = tmp_path / "splats.onnx"
    onnx.save(splat_model(), path)
    made = prepare(path, goal=Goal(growth=growth))
    assert sorted(node.op_type for node in made.model.graph) == sorted(ops)
    assert made.proof is not None
    assert made.proof.worst_sqnr_db > 100


def test_small_splats_come_first() -> None:
    graph = onnx.parser.parse_model(f"{HEAD}\ng (float[8,16] x) => (float[8,16] y) {{ y = Abs(x) }}")
    model = ir.from_proto(graph)
    settle(model, where="test")
    (node,) = model.graph
    for name, dims in (("large", (8, 16)), ("small", (16,))):
        value = ir.initializer(model.graph, name, ir.splat(np.float32(3), dims))
        added = ir.node("Add", [node.outputs[0], value])
        model.graph.insert_after(node, added)
    assert stored_bytes(model) == 0
    assert compact(model, 64) == 1
    assert list(model.graph.initializers) == ["small", "large_shape"]


def test_windows_are_terse() -> None:
    text = """g (float[1,2,6,6] x) => (float[1,2,2,2] y) <float[2,2,3,3] w> {
        c = Conv<strides = [1,1], dilations = [1,1], pads = [0,0,0,0], group = 1, kernel_shape = [3,3]>(x, w)
        y = MaxPool<strides = [2,2], pads = [0,0,0,0], kernel_shape = [2,2]>(c)
    }"""
    proto = onnx.parser.parse_model(f"{HEAD}\n{text}")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((2, 2, 3, 3), np.float32), "w"))
    model = ir.from_proto(proto)
    settle(model, where="test")
    terse(model)
    conv, pool = model.graph
    assert set(conv.attributes) == {"kernel_shape"}
    assert set(pool.attributes) == {"kernel_shape", "strides"}
    feeds = oracle.seeded_feeds(proto, 0)
    assert np.array_equal(oracle.Session(proto).run(feeds)["y"], oracle.Session(model).run(feeds)["y"])
