"""Weights in float16 behind Casts stay as they are, unless any size will do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from effc.compiler import ir, pipeline

LAYERS, WIDTH = 6, 64


def model_of_halves(unread: int, biases: int) -> onnx.ModelProto:
    """Products with float16 weights, small biases in float16, and a constant of some size that no output needs."""
    casts = " ".join(f"c{i} = Cast<to=1>(w{i}) h{i + 1} = MatMul(h{i}, c{i})" for i in range(LAYERS))
    adds = " ".join(f"k{i} = Cast<to=1>(b{i}) s{i + 1} = Sin(s{i}) t{i} = Max(s{i + 1}, k{i})" for i in range(biases))
    last = f"y = Add(h{LAYERS}, t{biases - 1})" if biases else f"y = Relu(h{LAYERS})"
    text = f"{casts} s0 = Relu(h{LAYERS}) {adds} d = ReduceSum(unread) e = Sigmoid(d) {last}"
    head = '<ir_version: 10, opset_import: ["" : 17]>\n'
    proto = onnx.parser.parse_model(f"{head}g (float[N,{WIDTH}] h0) => (float[N,{WIDTH}] y) {{ {text} }}")
    random = np.random.default_rng(0)
    shapes = {f"w{i}": (WIDTH, WIDTH) for i in range(LAYERS)} | {f"b{i}": (1,) for i in range(biases)}
    for name, shape in shapes.items():
        array = (random.standard_normal(shape) / 8).astype(np.float16)
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    proto.graph.initializer.append(numpy_helper.from_array(np.arange(unread, dtype=np.float32), "unread"))
    return proto


@pytest.mark.parametrize(
    ("unread", "biases", "growth", "casts"),
    [
        (1, 0, 0.01, LAYERS),
        (1 << 14, 0, 0.01, LAYERS),
        (1 << 20, 0, 0.01, LAYERS),
        (1, 0, 0.5, LAYERS),
        (1, 3, 0.01, LAYERS),
        (1, 0, None, 0),
        (1 << 14, 0, None, 0),
    ],
)
def test_halves_stay_halves(tmp_path: Path, unread: int, biases: int, growth: float | None, casts: int) -> None:
    """Also where the file has room for twice their bytes because something else went; small ones do not matter."""
    path, written = tmp_path / "halves.onnx", tmp_path / "out.onnx"
    onnx.save(model_of_halves(unread, biases), str(path))
    prepared = pipeline.prepare(path, goal=pipeline.Goal(growth=growth))
    ir.save(prepared.model, written)
    assert Counter(node.op_type for node in prepared.model.graph)["Cast"] == casts
    assert prepared.proof is not None
    assert not prepared.faults
    if growth is not None:
        assert written.stat().st_size <= (1 + growth) * path.stat().st_size
        assert ir.weight_bytes(prepared.model) < 1.02 * LAYERS * WIDTH * WIDTH * 2
