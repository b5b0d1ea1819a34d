"""ONNX Runtime artifacts: fused to integer kernels, equal to the oracle, byte for byte the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import Classifier
from tiny_models import convnet, images

from effc.backends.base import EmitOptions, Emitted, find
from effc.backends.onnxruntime.runner import OrtRunner, optimized_ops
from effc.calibration.bias_correction import correct
from effc.calibration.collect import collect
from effc.calibration.known import Known
from effc.calibration.quantize import quantize
from effc.calibration.readers import Dataset, open_data
from effc.compiler import ir, metrics, phase
from effc.compiler.oracle import Session, graph_inputs
from effc.compiler.pipeline import prepare
from effc.core.options import DEFAULT_METHOD, DataOptions
from effc.core.target import Target

BACKEND = find()["ort"]
FP32, INT8 = Target.parse("ort-fp32"), Target.parse("ort-int8")


def int8(model: ir.Model, data: Dataset) -> ir.Model:
    legal = model.clone()
    phase.run(legal, BACKEND.legalize(INT8))
    known = Known.of(legal, data, collect(model, data))
    scheme = BACKEND.scheme(INT8)
    assert scheme is not None
    made = quantize(legal, known.ranges(DEFAULT_METHOD, 99.99, "affine"), scheme)
    return correct(made, legal, data).model


def small(folder: Path) -> tuple[ir.Model, Dataset]:
    model = convnet()
    np.savez(folder / "d.npz", x=images(32))
    return model, open_data(DataOptions(str(folder / "d.npz")), graph_inputs(model))


def emit(model: ir.Model, target: Target, folder: Path, io: str = "onnx") -> Emitted:
    folder.mkdir()
    return BACKEND.emit(model, target, EmitOptions(io), folder)


def test_float_equals_the_oracle(tmp_path: Path) -> None:
    model, x = convnet(), images(5)
    made = emit(model, FP32, tmp_path / "a")
    found = OrtRunner(tmp_path / "a", made.files[0], 1).run({"x": x})["y"]
    assert metrics.sqnr_db(Session(model).run({"x": x})["y"], found) > 100
    assert (made.inputs[0].name, made.inputs[0].dtype, made.inputs[0].shape) == ("x", "float32", ("N", 3, 8, 8))


def test_every_op_becomes_an_integer_kernel(trained: Classifier, tmp_path: Path) -> None:
    model = prepare(trained.model).model
    data = open_data(DataOptions(str(trained.calib)), graph_inputs(model))
    made = emit(int8(model, data), INT8, tmp_path / "a", "native")
    ops = optimized_ops(tmp_path / "a" / made.files[0])
    convolutions = sum(node.op_type == "Conv" for node in model.graph)
    assert ops["QLinearConv"] == convolutions
    assert ops["QGemm"] == 1
    assert not ops.keys() & {"Conv", "Gemm", "Add", "Clip", "Relu", "ReduceMean", "QuantizeLinear", "DequantizeLinear"}


@pytest.mark.parametrize("io", ["onnx", "native"])
def test_top1_on_true_labels(trained: Classifier, tmp_path: Path, io: str) -> None:
    model = prepare(trained.model).model
    data = open_data(DataOptions(str(trained.calib)), graph_inputs(model))
    made = emit(int8(model, data), INT8, tmp_path / "a", io)
    x, labels = trained.load()
    before = metrics.top1(Session(trained.model).run({"input": x})["logits"], labels)
    given, out = made.inputs[0], made.outputs[0]
    assert (given.dtype == "uint8") == (io == "native") == (given.scale is not None)
    if given.scale is not None and given.zero_point is not None:
        x = np.clip(np.rint(x / np.float32(given.scale)) + given.zero_point, 0, 255).astype(np.uint8)
    found = OrtRunner(tmp_path / "a", made.files[0], 1).run({"input": x})["logits"]
    assert found.dtype == out.dtype
    assert metrics.top1(found, labels) >= before - 0.01


def test_native_differs_by_rounding_at_the_border_alone(tmp_path: Path) -> None:
    model, data = small(tmp_path)
    quantized, x = int8(model, data), images(4, seed=9)
    plain = emit(quantized, INT8, tmp_path / "a")
    native = emit(quantized, INT8, tmp_path / "b", "native")
    given, out = native.inputs[0], native.outputs[0]
    assert given.scale is not None and given.zero_point is not None
    assert out.scale is not None and out.zero_point is not None
    held = np.clip(np.rint(x / np.float32(given.scale)) + given.zero_point, 0, 255).astype(np.uint8)
    integers = OrtRunner(tmp_path / "b", native.files[0], 1).run({"x": held})["y"]
    real = (integers.astype(np.float32) - out.zero_point) * np.float32(out.scale)
    expected = OrtRunner(tmp_path / "a", plain.files[0], 1).run({"x": x})["y"]
    assert np.allclose(real, expected, atol=1e-5)


@pytest.mark.parametrize("io", ["onnx", "native"])
def test_same_bytes_twice(tmp_path: Path, io: str) -> None:
    model, data = small(tmp_path)
    made = [emit(int8(model, data), INT8, tmp_path / name, io) for name in ("a", "b")]
    files = [(tmp_path / name / m.files[0]).read_bytes() for name, m in zip(("a", "b"), made, strict=True)]
    assert files[0] == files[1]


def test_unknown_domain_is_refused() -> None:
    model = convnet()
    next(iter(model.graph)).domain = "my.ops"
    (refusal,) = BACKEND.support(model, FP32)
    assert "my.ops" in refusal.reason


def test_facts_and_timing(tmp_path: Path) -> None:
    made = emit(convnet(), FP32, tmp_path / "a")
    runner = OrtRunner(tmp_path / "a", made.files[0], 1)
    assert len(runner.measure({"x": images(1)}, 7).seconds) == 7
    facts = runner.facts()
    assert isinstance(facts["peak_rss_mb"], float)
    assert facts["peak_rss_mb"] > 10
    assert "Conv 2" in str(facts["ops"]) or "FusedConv" in str(facts["ops"])
