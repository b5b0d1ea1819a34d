"""The oracle's sessions, its feeds, and that a crash in its child is an error here."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper

from effc.compiler import ir, oracle
from effc.core.errors import BadInput, EffcError

TEXT = '<ir_version: 10, opset_import: ["" : 21]>\ng (float[N,4] x) => (float[N,4] y) { a = Exp(x) y = Neg(a) }'


def proto() -> onnx.ModelProto:
    return onnx.parser.parse_model(TEXT)


@pytest.mark.parametrize("form", ["proto", "bytes", "path", "ir"])
def test_every_form_of_a_model_runs(form: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(proto(), str(path))
    model = {"proto": proto(), "bytes": proto().SerializeToString(), "path": path, "ir": ir.from_proto(proto())}[form]
    session = oracle.Session(model)
    x = np.ones((2, 4), np.float32)
    assert [(i.name, i.dtype, i.shape) for i in session.inputs] == [("x", np.dtype(np.float32), ("N", 4))]
    np.testing.assert_allclose(session.run({"x": x})["y"], -np.exp(x), rtol=1e-6)


def test_inner_tensors_can_be_asked_for() -> None:
    model = proto()
    result = oracle.Session(model, outputs=["a", "y"]).run({"x": np.zeros((1, 4), np.float32)})
    assert list(result) == ["a", "y"]
    assert result["a"].max() == 1.0
    assert [v.name for v in model.graph.output] == ["y"]


def test_reference_stands_in_where_there_is_no_kernel() -> None:
    model = onnx.parser.parse_model(TEXT.replace("float", "bfloat16"))
    result = oracle.Session(model).run({"x": np.zeros((1, 4), ml_dtypes.bfloat16)})
    np.testing.assert_array_equal(result["y"].astype(np.float32), -np.ones((1, 4)))


def test_wrong_feeds_are_an_error() -> None:
    with pytest.raises(EffcError, match="ONNX Runtime"):
        oracle.Session(proto()).run({"x": np.zeros((1, 5), np.float32)})


TYPES = ["FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16", "INT8", "INT64", "UINT8", "BOOL", "STRING"]


@pytest.mark.parametrize("name", TYPES)
def test_feeds_of_every_type(name: str) -> None:
    dtype = getattr(TensorProto, name)
    info = [helper.make_tensor_value_info(n, dtype, ["N", 3, "M"]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    first, again = (oracle.seeded_feeds(model, 7, {"M": 5})["x"] for _ in range(2))
    assert first.shape == (2, 3, 5)
    assert first.dtype == helper.tensor_dtype_to_np_dtype(dtype)
    assert (first == again).all()
    assert not (first == oracle.seeded_feeds(model, 8, {"M": 5})["x"]).all()


def test_huge_inputs_are_refused() -> None:
    with pytest.raises(BadInput, match="too large"):
        oracle.seeded_feeds(proto(), 0, {"N": 1 << 40})


def test_apart_gives_the_same(tmp_path: Path) -> None:
    feeds = [oracle.seeded_feeds(proto(), seed) for seed in (0, 1)]
    here, apart = oracle.evaluate(proto(), feeds), oracle.evaluate_apart(proto().SerializeToString(), feeds)
    assert all((a["y"] == b["y"]).all() for a, b in zip(here, apart, strict=True))


def test_a_failure_apart_is_an_error() -> None:
    with pytest.raises(EffcError):
        oracle.evaluate_apart(b"not a model", [])
