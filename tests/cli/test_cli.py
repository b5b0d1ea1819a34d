"""The command line: exit codes, JSON, and what each verb says and writes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from cli_support import Built, Command, Fill

from effc.cli import arguments
from effc.core.errors import BadInput

EXIT_CODES = [
    ("targets", 0),
    ("doctor", 0),
    ("zoo list", 0),
    ("check {model} --target ort-fp32,ort-int8", 0),
    ("verify {out}/ort-fp32", 0),
    ("explain {out}/ort-fp32", 0),
    ("build {model} --target ort-fp32 -o {tmp}/o --dry-run", 0),
    ("build {model} --target ort-int8 -o {tmp}/o --calib {calib} --eval {eval} --max-drop 90 --samples 8", 0),
    ("", 2),
    ("nothing", 2),
    ("check", 2),
    ("check {model} --target tflite", 2),
    ("check {model} --target none-fp32", 2),
    ("check {model} --shape input", 2),
    ("verify {out}/ort-fp32 --threads 100000", 2),
    ("build {model} --target ort-int8 -o {tmp}/o --calib random --seed -5", 2),
    ("check {model} --shape other:1x1x28x28", 2),
    ("check {model} --shape input:99999999999x1x28x28", 2),
    ("build {model} --target rtx-fp32 -o {tmp}/o --shape-range input:99999999999x1x28x28", 2),
    ("build {model} --target rtx-fp32 -o {tmp}/o --workspace 99999999999999999999", 2),
    ("build {model} --target rtx-fp32 -o {tmp}/o --build-timeout 99999999999999h", 2),
    ("check {model} --shape input:1x1x28x28 --shape input:2x1x28x28", 2),
    ("check {tmp}/none.onnx", 2),
    ("check {calib}", 2),
    ("verify {tmp}", 2),
    ("verify {out}/ort-fp32 --data {eval}", 2),
    ("verify {out}/ort-fp32 --metric math:sqrt", 2),
    ("verify {out}/ort-fp32 --data {tmp}/none.npz --model {model}", 2),
    ("bench {tmp}", 2),
    ("bench {out}/ort-fp32 --min-time 0", 2),
    ("bench {out}/ort-fp32 --min-time nan", 2),
    ("bench {out}/ort-fp32 --min-time inf", 2),
    ("bench {tmp}/garbage.onnx", 2),
    ("bench {out}/ort-fp32 --rounds 0", 2),
    ("explain {tmp}", 2),
    ("explain {model}", 2),
    ("explain {tmp}/none", 2),
    ("explain {out}/ort-fp32/model.onnx", 2),
    ("explain {out}/ort-fp32/manifest.json", 2),
    ("run {out}/ort-fp32 --input {model} -o {tmp}/y.npz", 2),
    ("run {out}/ort-fp32 --input {calib} -o {calib}", 2),
    ("run {out}/ort-fp32 --input {tmp}/wrong.npz -o {tmp}/y.npz", 2),
    ("build {model} --target ort-int8 -o {tmp}/o", 2),
    ("build {model} --target ort-fp32 -o {out}", 2),
    ("build {model} --target ort-fp32 -o {tmp}/o --max-drop 1", 2),
    ("build {model} --target ort-fp32 -o {tmp}/o --max-drop 101", 2),
    ("build {model} --target ort-fp32 -o {tmp}/o --metric math:sqrt", 2),
    ("build {model} --target ort-fp32 -o {tmp}/o --metric math:sqrt --eval {eval}", 2),
    ("build {model} --target ort-int8 -o {tmp}/o --calib {calib} --keep-float nothing*", 2),
    ("quantize {model} -o {tmp}/q.onnx --calib {calib} --keep-float nothing*", 2),
    ("build {model} --target rtx-fp16 -o {tmp}/o --shape-range other:1x1x28x28 --dry-run", 2),
    ("build {model} --target rtx-fp16 -o {tmp}/o --refit --dry-run", 2),
    ("build {model} --target rtx-fp16 -o {tmp}/o --refit --defer --dry-run", 0),
    ("build {model} --target rtx-fp16:sm89 -o {tmp}/o --calib {calib} --samples 8 --min-sqnr 80", 3),
    ("build {model} --target ort-int8 -o {tmp}/o --calib {tmp}/none.npz", 2),
    ("quantize {model} -o {tmp}/q.onnx", 2),
    ("quantize {model} --calib {calib} --target ort-fp32 -o {tmp}/q.onnx", 2),
    ("simplify {model} {model}", 2),
    ("zoo fetch nothing", 2),
    ("zoo data mnist_minimobile --split other -o {tmp}/d.npz", 2),
    ("check {odd}", 3),
    ("build {odd} --target ort-fp32 -o {tmp}/o --no-proof", 3),
]


@pytest.mark.parametrize(("words", "code"), EXIT_CODES)
def test_exit_codes(words: str, code: int, fill: Fill, effc: Command) -> None:
    ran = effc(*fill(words), *(["--json"] if code == 0 else []))
    assert ran.code == code, ran.err
    assert "Traceback" not in ran.err
    if code == 0:
        assert isinstance(ran.json, dict)
    if code == 2:
        assert ran.err.startswith("error (bad input): ")


JSON_ERRORS = [
    "nothing",
    "check",
    "check {tmp}/none.onnx",
    "verify {tmp}",
    "build {model} --target ort-int8 -o {tmp}/o",
]


@pytest.mark.parametrize("words", JSON_ERRORS)
def test_json_errors(words: str, fill: Fill, effc: Command) -> None:
    ran = effc(*fill(words), "--json")
    assert ran.code == ran.json["error"]["exit_code"] == 2
    assert ran.json["error"]["kind"] == "bad input"
    assert ran.json["error"]["what"]
    assert ran.err == ""


def test_a_missed_gate_is_4_and_keeps_the_artifact(built: Built, tmp_path: Path, effc: Command) -> None:
    (tmp_path / "spoiler.py").write_text(
        "scores = [0.9, 0.5]\ndef metric(outputs, labels):\n    return scores.pop(0)\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        words = built.words("--target", "ort-fp32", "--metric", "spoiler:metric", "--max-drop", "5")
        ran = effc(*words[:-8], "-o", tmp_path / "o", *words[-6:])
    finally:
        sys.path.remove(str(tmp_path))
    assert ran.code == 4, ran.err
    assert "loses 40.00 points" in ran.err
    assert (tmp_path / "o" / "ort-fp32" / "manifest.json").exists()


def test_a_missing_backend_is_5(built: Built, tmp_path: Path) -> None:
    """The whole program where a backend's library cannot be found, the other targets unharmed."""
    blocker = (
        "import importlib.util as u, sys\n"
        "found = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name.startswith('ai_edge_litert') else found(name, *a)\n"
        "from effc.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["build", built.model.model, "--target", "tflite-fp32,ort-fp32", "-o", tmp_path / "o", "--no-proof"]
    ran = subprocess.run([sys.executable, "-c", blocker, *map(str, words)], capture_output=True, text=True, check=False)
    assert ran.returncode == 5, ran.stderr
    assert "pip install" in ran.stderr
    assert (tmp_path / "o" / "ort-fp32" / "manifest.json").exists()


def test_a_runtime_that_fails_is_6(built: Built, tmp_path: Path, effc: Command) -> None:
    """A file that is no model, with its hash in the manifest: the vendor library is what refuses it."""
    from effc.core.manifest import FileInfo, Manifest

    folder = Path(shutil.copytree(built.folder / "ort-fp32", tmp_path / "bad"))
    (folder / "model.onnx").write_bytes(b"not a model")
    manifest = Manifest.read(folder)
    files = tuple(FileInfo.of(folder, file.path) for file in manifest.files)
    raw = json.loads(manifest.to_json()) | {"files": [vars(file) for file in files]}
    (folder / "manifest.json").write_text(json.dumps(raw))
    ran = effc("verify", folder)
    assert ran.code == 6, ran.err
    assert "error (backend failed)" in ran.err


def test_an_internal_error_is_1(effc: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from effc.verbs import doctor

    monkeypatch.setattr(doctor, "PACKAGES", 3)
    ran = effc("doctor")
    assert ran.code == 1
    assert "Traceback" not in ran.err
    log = Path(ran.err.split("the traceback is in ")[1].split(";")[0])
    assert "TypeError" in log.read_text()
    log.unlink()
    assert "Traceback" in effc("doctor", "-v").err


def test_an_interrupt_is_130(effc: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from effc.verbs import doctor

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "doctor", interrupted)
    assert effc("doctor").code == 130
    assert effc("doctor", "--json").json == {"error": {"kind": "interrupted", "exit_code": 130}}


@pytest.mark.parametrize("words", [["--help"], ["build", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    program = (
        "import sys\nfrom effc.cli.main import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit as end: assert end.code == 0\n"
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'onnx_ir', 'rich', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "effc" in ran.stdout


SHAPES = [
    ("x:1x3x224x224", ("x", (1, 3, 224, 224))),
    ("x:N,3,H,W", ("x", ("N", 3, "H", "W"))),
    ("scope/in:0:Nx3", ("scope/in:0", ("N", 3))),
    ("x:7", ("x", (7,))),
]


@pytest.mark.parametrize(("text", "expected"), SHAPES)
def test_shapes(text: str, expected: tuple[str, tuple[int | str, ...]]) -> None:
    assert arguments.shape(text) == expected


@pytest.mark.parametrize("text", ["", "x", "x:", ":1x2", "x:0x3", "x:-1x3", "x:1x", "x:1.5x2", "x:1 x2"])
def test_bad_shapes(text: str) -> None:
    with pytest.raises(BadInput, match="is not a shape"):
        arguments.parse(["check", "m.onnx", "--shape", text])


def test_build_writes_whole_artifacts(built: Built) -> None:
    assert built.code == 0
    for target in ("ort-fp32", "ort-int8"):
        names = {path.name for path in (built.folder / target).iterdir()}
        assert {"manifest.json", "measured.json", "reference.npz", "model.onnx"} <= names
    raw = json.loads((built.folder / "ort-int8" / "manifest.json").read_text())
    assert raw["calibration"]["samples"] == 128
    top1 = raw["verification"]["top1"]
    assert top1["n"] == 500
    assert abs(top1["float"] - top1["artifact"]) <= 0.015


def test_targets_are_independent(odd: Path, tmp_path: Path, effc: Command) -> None:
    """A model that every target refuses: all refusals are listed, for each, and nothing is written."""
    ran = effc("check", odd, "--json")
    assert ran.code == 3
    assert len(ran.json["targets"]) >= 2
    for target in ran.json["targets"]:
        assert [refusal["op"] for refusal in target["refusals"]] == ["Odd"]
        assert 0 < target["share"] < 1
    effc("build", odd, "--target", "ort-fp32", "-o", tmp_path / "o", "--no-proof")
    assert not (tmp_path / "o" / "ort-fp32").exists()


def test_dry_run_writes_nothing(built: Built, tmp_path: Path, effc: Command) -> None:
    ran = effc("build", built.model.model, "--target", "ort-fp32", "-o", tmp_path / "o", "--dry-run", "--json")
    assert ran.code == 0
    assert ran.json["dry_run"] is True
    assert not (tmp_path / "o").exists()


def test_verify_on_labelled_data(built: Built, effc: Command) -> None:
    model = built.model
    words = ("verify", built.folder / "ort-int8", "--data", model.evaluation, "--model", model.model, "--json")
    found = effc(*words).json["verification"]
    stored = json.loads((built.folder / "ort-int8" / "manifest.json").read_text())["verification"]
    assert found == stored
    assert effc(*words[:-1], "--samples", 10, "--json").json["verification"]["samples"] == 10


def test_verify_refuses_another_model(built: Built, fashion: object, effc: Command) -> None:
    other = fashion.model  # type: ignore[attr-defined]
    ran = effc("verify", built.folder / "ort-fp32", "--data", built.model.evaluation, "--model", other)
    assert ran.code == 2
    assert "another file" in ran.err


@pytest.mark.parametrize("name", ["model.onnx", "reference.npz", "quantized.onnx"])
def test_verify_names_the_damaged_file(built: Built, tmp_path: Path, effc: Command, name: str) -> None:
    folder = Path(shutil.copytree(built.folder / "ort-int8", tmp_path / "a"))
    if not (folder / name).exists():
        pytest.fail(f"the artifact has no {name}")
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    ran = effc("verify", folder, "--json")
    assert ran.code == 2
    assert ran.json["error"]["where"].endswith(name)


def test_run_gives_the_models_outputs(built: Built, tmp_path: Path, effc: Command) -> None:
    from effc.compiler.oracle import evaluate

    ran = effc("run", built.folder / "ort-fp32", "--input", built.model.evaluation, "-o", tmp_path / "y.npz", "--json")
    assert ran.json["outputs"] == [{"name": "logits", "dtype": "float32", "shape": [500, 10]}]
    samples, _ = built.model.load()
    [expected] = evaluate(built.model.model, [{"input": samples}])
    with np.load(tmp_path / "y.npz") as found:
        np.testing.assert_allclose(found["logits"], expected["logits"], atol=1e-4)


def test_bench_json(built: Built, effc: Command) -> None:
    words = ("--min-time", "0.06", "--rounds", "3", "--threads", "1", "--json")
    ran = effc("bench", built.folder / "ort-fp32", built.folder / "ort-int8", built.model.model, *words)
    results = ran.json["results"]
    assert [result["target"] for result in results] == ["ort-fp32", "ort-int8", "ort-fp32"]
    assert results[2]["artifact"] == str(built.model.model)
    for result in results:
        assert set(result["latency_ms"]) == {"mean", "p50", "p90", "p95", "p99", "min", "max", "std"}
        ms = result["latency_ms"]
        assert 0 < ms["min"] <= ms["p50"] <= ms["p90"] <= ms["p95"] <= ms["p99"] <= ms["max"]
        assert result["throughput_per_s"] == pytest.approx(1e3 / ms["mean"])
        assert result["threads"] == result["batch"] == 1
        assert result["peak_rss_mb"] > 10
        assert result["calls"] >= 3
    assert results[0]["ratio"] == 1.0
    noisy = [result for result in results if result["spread"] > 0.15]
    assert len(ran.json["warnings"]) == len(noisy)
    assert ran.err.count("warning: ") == len(noisy)


def test_bench_of_different_models_says_so(built: Built, fashion: object, effc: Command) -> None:
    words = ("--min-time", "0.02", "--rounds", "1", "--json")
    ran = effc("bench", built.folder / "ort-fp32", fashion.model, *words)  # type: ignore[attr-defined]
    assert "different models (mnist_minimobile.onnx, fashion_minires.onnx)" in ran.json["warnings"][0]


def test_quantize(built: Built, tmp_path: Path, effc: Command) -> None:
    from effc.compiler.oracle import evaluate

    out = tmp_path / "q.onnx"
    ran = effc("quantize", built.model.model, "--calib", built.model.calib, "--samples", 32, "-o", out, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["calibration"]["samples"] == 32
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(out).graph.node}
    samples, labels = built.model.load()
    [found] = evaluate(out, [{"input": samples}])
    assert (found["logits"].argmax(axis=1) == labels).mean() > 0.96


def test_check_lists_ops_and_shapes(built: Built, effc: Command) -> None:
    ran = effc("check", built.model.model, "--shape", "input:4x1x28x28", "--target", "ort-fp32", "--json")
    assert ran.json["inputs"][0]["shape"] == [4, 1, 28, 28]
    assert ran.json["outputs"][0]["shape"] == [4, 10]
    assert ran.json["ops"]["Conv"] == 17
    assert [target["share"] for target in ran.json["targets"]] == [1.0]
    assert ran.json["open"] == []


READABLE = [
    ("targets", ["ort-int8", "builds here"]),
    ("doctor", ["Python", "onnxruntime", "backend ort: ready"]),
    ("zoo list", ["pplcnet_orientation"]),
    ("check {model} --target ort-fp32", ["Conv", "M MACs", "--shape input:1x1x28x28", "100%"]),
    ("verify {out}/ort-fp32", ["logits", "same class in 100.00%"]),
    ("bench {out}/ort-fp32 --min-time 0.02 --rounds 2", ["p50 ms", "ort-fp32"]),
    ("explain {out}/ort-int8", ["ONNX Runtime's profile", "int8 takes", "grouped Conv"]),
    ("run {out}/ort-int8 --input {calib} -o {tmp}/y.npz", ["logits float32 [128, 10]"]),
]


@pytest.mark.parametrize(("words", "parts"), READABLE)
def test_what_people_read(words: str, parts: list[str], fill: Fill, effc: Command) -> None:
    ran = effc(*fill(words))
    assert ran.code == 0, ran.err
    for part in parts:
        assert part in ran.out
