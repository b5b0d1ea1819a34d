from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from effc.bench.typed import TypedRunner
from effc.compiler import ir
from effc.compiler.oracle import Session
from effc.compiler.passes.precision import Narrowing, narrow
from effc.core.errors import BadInput
from tests.graphs import GRAPHS

FILE = "typed.onnx"


@pytest.mark.parametrize(
    "dtype, io, kind, bar",
    [
        ("float16", False, np.float32, 2e-3),
        ("float16", True, np.float16, 2e-3),
        ("bfloat16", False, np.float32, 2e-2),
        ("bfloat16", True, ml_dtypes.bfloat16, 2e-2),
    ],
)
def test_run(tmp_path: Path, dtype: str, io: bool, kind: type, bar: float) -> None:
    graph = next(each for each in GRAPHS if each.name == "conv_relu")
    model = ir.from_proto(onnx.shape_inference.infer_shapes(graph.proto()))
    ir.save(narrow(model, Narrowing(dtype, io=io), {}).model, tmp_path / FILE)
    runner, feeds = TypedRunner(tmp_path, FILE, 1), graph.samples(1)
    found = runner.run({name: array.astype(kind) for name, array in feeds.items()})["y"]
    expected = Session(model).run(feeds)["y"]
    assert found.dtype == kind
    difference = np.abs(found.astype(np.float32) - expected).max() / np.abs(expected).max()
    assert 1e-6 < difference < bar


def test_external_weights(tmp_path: Path) -> None:
    graph = next(each for each in GRAPHS if each.name == "gemm")
    proto = onnx.shape_inference.infer_shapes(graph.proto())
    onnx.save(proto, tmp_path / FILE, save_as_external_data=True, location="weights", size_threshold=0)
    feeds = graph.samples(1)
    np.testing.assert_array_equal(
        TypedRunner(tmp_path, FILE, 1).run(feeds)["y"], Session(graph.proto()).run(feeds)["y"]
    )


def test_it_is_no_measure_of_speed(tmp_path: Path) -> None:
    onnx.save(onnx.shape_inference.infer_shapes(GRAPHS[0].proto()), tmp_path / FILE)
    runner = TypedRunner(tmp_path, FILE, 1)
    with pytest.raises(BadInput, match="speed"):
        runner.measure({}, 1)
    facts = runner.facts()
    assert facts["runtime"] == "ONNX Runtime (typed ONNX)" and float(facts["peak_rss_mb"]) > 1


@pytest.mark.parametrize("content", [None, b"this is no model"], ids=["missing", "damaged"])
def test_what_is_no_model(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(BadInput, match=FILE):
        TypedRunner(tmp_path, FILE, 1)


def test_numbers_are_the_typed_ones(tmp_path: Path) -> None:
    """1 + 2^-12 is 1 in float16, although ONNX Runtime's own float16 Add keeps it inside."""
    text = "(float16[1] x) => (float[1] y) { a = Add(x, e) b = Sub(a, o) y = Cast<to = 1>(b) }"
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> g {text}')
    weights = {"e": np.float16(2**-12), "o": np.float16(1)}
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray([w]), name) for name, w in weights.items())
    onnx.save(proto, tmp_path / FILE)
    found = TypedRunner(tmp_path, FILE, 1).run({"x": np.ones(1, np.float16)})
    np.testing.assert_array_equal(found["y"], np.zeros(1, np.float32))
