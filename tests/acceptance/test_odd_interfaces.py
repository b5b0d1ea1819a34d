"""The whole build on models whose inputs and outputs are unusual, with the runtime's own interface."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from effc.build import build
from effc.core.options import BuildOptions, CalibrationOptions, DataOptions
from effc.core.target import parse_targets

SAMPLES, LEAST_SQNR = 15, 30.0
CONV = "c = Conv<pads=[1,1,1,1]>(x, w)\n"
MODELS = {
    "the input is an output": f"(float[N,3,6,6] x) => (float[N,3,6,6] x, float[N,4,6,6] y) {{ {CONV} y = Relu(c) }}",
    "before an activation": f"(float[N,3,6,6] x) => (float[N,4,6,6] c, float[N,4,6,6] y) {{ {CONV} y = Relu(c) }}",
    "an output twice": f"(float[N,3,6,6] x) => (float[N,4,6,6] c, float[N,4,6,6] y) {{ {CONV} y = Identity(c) }}",
    "a constant output": f"(float[N,3,6,6] x) => (float[N,4,6,6] c, float[3] k) {{ {CONV} }}",
    "five axes": "(float[N,3,2,4,5] x) => (float[N,3,2,4,5] y) { a = Relu(x)\n b = Exp(a)\n y = Add(a, b) }",
    "a fixed batch": f"(float[2,3,6,6] x) => (float[2,4,6,6] y) {{ {CONV} y = Relu(c) }}",
    "bytes, channels last": "(uint8[N,6,6,3] u) => (float[N,4,6,6] c) { f = Cast<to=1>(u)\n g = Div(f, full)\n"
    f" x = Transpose<perm=[0,3,1,2]>(g)\n {CONV} }}",
    "two inputs, two outputs": f"(float[N,3,6,6] x, float[N,4] v) => (float[N,4] y, float[N,4] z) {{ {CONV}"
    " m = ReduceMean<keepdims=0>(c, axes)\n y = Add(m, v)\n z = Sigmoid(y) }",
}


def model(text: str) -> onnx.ModelProto:
    made = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]>\ng {text}')
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32) / 5
    constants = {"w": weight, "k": np.ones(3, np.float32), "axes": np.array([2, 3]), "full": np.array(255, np.float32)}
    used = {name for node in made.graph.node for name in node.input} | {v.name for v in made.graph.output}
    made.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in constants.items() if name in used)
    return made


def samples(made: onnx.ModelProto) -> dict[str, NDArray[np.generic]]:
    draw = np.random.default_rng(1)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim][1:] for v in made.graph.input}
    bytes_of = draw.integers(0, 256, (SAMPLES, 6, 6, 3)).astype(np.uint8)
    floats = {name: draw.normal(size=(SAMPLES, *shape)).astype(np.float32) for name, shape in shapes.items()}
    return {name: bytes_of if name == "u" else array for name, array in floats.items()}


@pytest.mark.parametrize("io", ["onnx", "native"])
@pytest.mark.parametrize("name", MODELS)
def test_close_to_the_float_model(name: str, io: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFFC_CACHE", str(tmp_path / "cache"))
    made = model(MODELS[name])
    onnx.save(made, tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", **samples(made))  # type: ignore[arg-type]
    data = DataOptions(str(tmp_path / "d.npz"))
    targets = parse_targets("tflite-int8,ort-int8")
    calibration = CalibrationOptions(data, method="minmax")
    options = BuildOptions(tmp_path / "m.onnx", targets, tmp_path / "o", {}, calibration, data, io=io, proof=False)
    for report in build(options).targets:
        assert report.failure is None
        assert report.verification is not None
        assert [o.name for o in report.verification.outputs] == [v.name for v in made.graph.output]
        for output in report.verification.outputs:
            assert output.sqnr_db is None or output.sqnr_db > LEAST_SQNR, output


def test_an_int8_build_with_nothing_in_int8_is_refused(tmp_path: Path) -> None:
    body = "x = Cast<to = 10>(input) c = Conv(x, x) y = Cast<to = 1>(c)"
    made = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g (float[1,4,3,3] input) => (float[1,1,1,1] y) {{ {body} }}'
    )
    onnx.save(made, tmp_path / "half.onnx")
    np.savez(tmp_path / "d.npz", input=np.ones((4, 4, 3, 3), np.float32))
    calibration = CalibrationOptions(DataOptions(str(tmp_path / "d.npz")))
    targets = parse_targets("ort-int8")
    [found] = build(BuildOptions(tmp_path / "half.onnx", targets, tmp_path / "out", calibration=calibration)).targets
    assert found.failure is not None
    assert found.failure.exit_code == 3
    assert "float16" in found.failure.message
