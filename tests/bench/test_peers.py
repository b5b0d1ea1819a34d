"""The peers: those that run here do, those that are absent say why, and trtexec is parsed from a stand-in's output."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import support

from effc.bench.measure import BenchOptions
from effc.bench.peers.providers import Provider
from effc.bench.peers.table import PEERS, chosen
from effc.bench.peers.trtexec import FLAGS, Trtexec, complaint, exported
from effc.compiler.oracle import Session
from effc.core.errors import BackendFailed, BackendMissing, BadInput
from effc.verbs.bench import bench

QUICK = BenchOptions(rounds=2, min_time=0.04)
torch_here = importlib.util.find_spec("torch") is not None and importlib.util.find_spec("onnx2torch") is not None

TRTEXEC = f"""#!{sys.executable}
# A stand-in for trtexec: no TensorRT, its documented options and output alone. Each call is noted beside it.
import json, pathlib, sys
here = pathlib.Path(__file__).parent
with open(here / "calls.txt", "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + chr(10))
options = dict(part.lstrip("-").partition("=")[::2] for part in sys.argv[1:])
print("[11/22/2026-10:00:00] [I] TensorRT version: 10.13.0")
print("[11/22/2026-10:00:00] [I] Selected Device: Stand-in GPU")
if "fp8" in options:
    print("[11/22/2026-10:00:01] [E] FP8 is not supported on this GPU")
    print("&&&& FAILED TensorRT.trtexec [TensorRT v101300]")
    sys.exit(1)
if "saveEngine" in options:
    pathlib.Path(options["saveEngine"]).write_bytes(b"engine")
if "exportTimes" in options:
    assert pathlib.Path(options["loadEngine"]).exists()
    record = dict(startEnqMs=0.0, endEnqMs=0.1, startH2dMs=1.0, endH2dMs=1.5, startComputeMs=1.5, endComputeMs=3.5)
    record |= dict(startD2hMs=3.5, endD2hMs=3.75, h2dMs=0.5, computeMs=2.0, d2hMs=0.25, latencyMs=2.75)
    pathlib.Path(options["exportTimes"]).write_text(json.dumps([record] * int(options["iterations"])))
print("[11/22/2026-10:00:02] [I] Throughput: 250.5 qps")
print("&&&& PASSED TensorRT.trtexec [TensorRT v101300]")
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    text = """<ir_version: 10, opset_import: ["" : 17]>
    g (float[N,3,8,8] x) => (float[N,4] y) { c = Conv(x, w) r = Relu(c) p = GlobalAveragePool(r) y = Flatten(p) }"""
    proto = onnx.parser.parse_model(text)
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(proto, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.fixture
def trtexec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in on the PATH; the file that lists its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "trtexec").write_text(TRTEXEC)
    (folder / "trtexec").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder / "calls.txt"


@pytest.mark.parametrize(
    ("text", "targets", "expected"),
    [
        ("", [], []),
        ("trtexec", [], ["trtexec-fp32"]),
        ("trtexec,torch", ["ort-fp32", "trt-fp16"], ["trtexec-fp16", "torch-fp16"]),
        ("trtexec, torch", ["rtx-int8:sm89"], ["trtexec-int8", "torch-fp32"]),
        ("trtexec-best,trtexec-best,ort-tensorrt-fp16", [], ["trtexec-best", "ort-tensorrt-fp16"]),
        ("trtexec-typed", ["trt-fp16"], ["trtexec-typed"]),
    ],
)
def test_names(text: str, targets: list[str], expected: list[str]) -> None:
    assert [str(choice) for choice in chosen(text, targets)] == expected


@pytest.mark.parametrize("text", ["tensorflow", "torch-int8", "trtexec-", "-fp16"])
def test_names_that_are_not_known(text: str) -> None:
    with pytest.raises(BadInput, match="no peer is called") as caught:
        chosen(text, [])
    assert all(name in caught.value.hint for name in PEERS)


def test_every_precision_of_trtexec_has_flags() -> None:
    assert set(PEERS["trtexec"].precisions) == set(FLAGS)


def test_absent_peers_are_named_with_the_reason(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    report = bench([model], QUICK, peers="trtexec,ort-cuda" + ("" if torch_here else ",torch"))
    expected = ["trtexec-fp32 m.onnx is left out: trtexec is not on the PATH"]
    expected += ["ort-cuda-fp32 m.onnx is left out: the installed onnxruntime has no CUDAExecutionProvider"]
    expected += [] if torch_here else ["torch-fp32 m.onnx is left out: torch does not import"]
    told = [warning for warning in report.warnings if "left out" in warning]
    assert len(told) == len(expected)
    for warning, text in zip(told, expected, strict=True):
        assert warning.startswith(text)
    assert [result.target for result in report.results] == ["ort-fp32"]


def test_peers_need_the_model(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        bench([tmp_path], QUICK, peers="trtexec")


def test_a_provider_computes_what_the_model_does(model: Path) -> None:
    """The CPU's, through the same binding as the GPU's."""
    provider = Provider(model, "CPUExecutionProvider", "cpu", 1)
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(provider.run({"x": x})["y"], Session(model).run({"x": x})["y"], atol=1e-6)
    timing = provider.measure({"x": x}, 4)
    assert len(timing.seconds) == len(timing.copies) == 4
    assert min(*timing.seconds, *timing.copies) > 0
    assert "CPUExecutionProvider" in str(provider.facts()["runtime"])


def test_a_provider_that_is_not_there(model: Path) -> None:
    with pytest.raises(BackendMissing, match="has no NoExecutionProvider"):
        Provider(model, "NoExecutionProvider", "cuda", 1)


@pytest.mark.skipif(not torch_here, reason="torch or onnx2torch is not installed")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.05)])
def test_torch_computes_what_the_model_does(model: Path, precision: str, tolerance: float) -> None:
    from effc.bench.peers.compiled import TorchCompile

    runner = TorchCompile(model, precision, 1)
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(runner.run({"x": x})["y"], Session(model).run({"x": x})["y"], atol=tolerance)
    assert len(runner.measure({"x": x}, 3).seconds) == 3


# What follows runs the stand-in for trtexec.


def test_with_a_stand_in_trtexec_takes_its_turns(model: Path, trtexec: Path) -> None:
    report = bench([model], BenchOptions(rounds=2, min_time=0.04, streams=3), peers="trtexec-fp16")
    ours, theirs = report.results
    assert theirs.target == "trtexec-fp16"
    assert theirs.latency_ms.p50 == 2.0
    assert theirs.gpu_ms is not None and theirs.gpu_ms.p50 == 2.0
    assert theirs.copies_ms is not None and theirs.copies_ms.p50 == 0.75
    assert (theirs.throughput_per_s, theirs.streams, theirs.device) == (250.5, 3, "Stand-in GPU")
    assert ours.gpu_ms is None and ours.streams == 1
    assert any("m.onnx: one batch at a time" in warning for warning in report.warnings)
    build, *runs = trtexec.read_text().splitlines()
    assert f"--onnx={model}" in build and "--fp16" in build and "--skipInference" in build
    assert "--minShapes='x':1x3x8x8 --optShapes='x':1x3x8x8 --maxShapes='x':1x3x8x8" in build
    assert all("--loadEngine=" in run and "--shapes='x':1x3x8x8" in run and "--loadInputs='x':" in run for run in runs)
    assert sum("--infStreams=3" in run for run in runs) == 2


def test_with_a_stand_in_a_static_model_has_no_shapes(trtexec: Path) -> None:
    fixture = support.FIXTURES / "mnist_minimobile.onnx"
    proto = onnx.load(fixture)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    path = trtexec.parent / "static.onnx"
    onnx.save(proto, path)
    runner = Trtexec(path, "typed", 1)
    runner.measure({"input": np.zeros((1, 1, 28, 28), np.float32)}, 2)
    runner.measure({"input": np.zeros((1, 1, 28, 28), np.float32)}, 2)
    calls = trtexec.read_text()
    assert "hapes" not in calls
    assert calls.count("--saveEngine") == 1
    assert "--stronglyTyped" in calls
    assert runner.facts()["runtime"] == "trtexec 10.13.0"


def test_with_a_stand_in_its_last_error_is_told(model: Path, trtexec: Path) -> None:
    report = bench([model], QUICK, peers="trtexec-fp8")
    [warning] = [warning for warning in report.warnings if "left out" in warning]
    assert "trtexec fails: [11/22/2026-10:00:01] [E] FP8 is not supported on this GPU" in warning


@pytest.mark.parametrize("records", [[], [{"computeMs": 1.0}], [3.0], {"a": 1}])
def test_times_of_another_form(records: object) -> None:
    with pytest.raises(BackendFailed):
        exported(records)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("log", "expected"),
    [("", "it says nothing"), ("a\nb\n", "b"), ("[E] first\n[E] second\n[I] last", "[E] second")],
)
def test_complaint(log: str, expected: str) -> None:
    assert complaint(log) == expected
