"""`effc quantize` needs no library of the target: it writes ONNX, in the form that the target takes."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import support
from cli_support import Command


@pytest.mark.parametrize("target", ["trt-int8", "trt-fp8", "rtx-best"])
def test_for_a_machine_that_is_elsewhere(
    target: str, mnist: support.Classifier, tmp_path: Path, effc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("effc.backends.tensorrt.library.missing", lambda flavour: f"no {flavour}")
    out = tmp_path / "q.onnx"
    ran = effc("quantize", mnist.model, "--calib", mnist.calib, "--samples", 32, "--target", target, "-o", out)
    assert ran.code == 0, ran.err
    graph = onnx.load(out).graph
    held = {tensor.name: tensor.data_type for tensor in graph.initializer}
    zeros = {held[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}
    assert zeros == {onnx.TensorProto.FLOAT8E4M3FN if "fp8" in target else onnx.TensorProto.INT8}
