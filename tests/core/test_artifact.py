"""Opening an artifact: whole or refused by the file's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from effc.core.artifact import Artifact
from effc.core.errors import BadInput
from effc.core.manifest import FILE_NAME, FileInfo, Manifest, Source

CONTENT = {"quantized.onnx": b"qdq", "reference.npz": b"ref", "model.bin": b"weights"}


def write(folder: Path, target: str = "ort-int8", names: tuple[str, ...] = tuple(CONTENT)) -> Path:
    folder.mkdir()
    for name, data in CONTENT.items():
        (folder / name).write_bytes(data)
    files = tuple(FileInfo.of(folder, name) for name in names)
    main = "model.bin"
    manifest = Manifest("0", target, "onnx", Source("m.onnx", "0", 13), (), (), files, main)
    (folder / FILE_NAME).write_text(manifest.to_json())
    return folder


def test_open(tmp_path: Path) -> None:
    artifact = Artifact.open(write(tmp_path / "a"))
    assert artifact.main == "model.bin"
    assert artifact.reference == tmp_path / "a" / "reference.npz"
    assert artifact.size == len(CONTENT["model.bin"])
    assert str(artifact.target) == "ort-int8"


def test_a_sealed_package_opens_without_its_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", names=("quantized.onnx",))
    manifest = replace(Manifest.read(folder), sealed=True)
    (folder / FILE_NAME).write_text(manifest.to_json())
    package = Artifact.open(folder)
    assert (package.main, package.size) == (None, 0)


def test_reference_may_be_absent(tmp_path: Path) -> None:
    assert Artifact.open(write(tmp_path / "a", names=("model.bin",))).reference is None


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "gone": ("model.bin", lambda folder: (folder / "model.bin").unlink()),
    "shorter": ("model.bin", lambda folder: (folder / "model.bin").write_bytes(b"weight")),
    "flipped": ("quantized.onnx", lambda folder: (folder / "quantized.onnx").write_bytes(b"qdQ")),
    "reference": ("reference.npz", lambda folder: (folder / "reference.npz").write_bytes(b"REF")),
    "no manifest": ("a", lambda folder: (folder / FILE_NAME).unlink()),
    "half manifest": (FILE_NAME, lambda folder: (folder / FILE_NAME).write_text('{"schema": 1')),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named(tmp_path: Path, case: str) -> None:
    name, damage = DAMAGE[case]
    damage(write(tmp_path / "a"))
    with pytest.raises(BadInput) as caught:
        Artifact.open(tmp_path / "a")
    assert caught.value.where.endswith(name)


def test_a_file_outside_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    (tmp_path / "secret").write_bytes(b"s")
    text = (folder / FILE_NAME).read_text().replace('"model.bin"', '"../secret"')
    (folder / FILE_NAME).write_text(text)
    with pytest.raises(BadInput, match="outside"):
        Artifact.open(folder)


@pytest.mark.parametrize(("target", "names"), [("int8", ("model.bin",)), ("ort-int8", ("reference.npz",))])
def test_a_manifest_that_cannot_run(tmp_path: Path, target: str, names: tuple[str, ...]) -> None:
    with pytest.raises(BadInput):
        Artifact.open(write(tmp_path / "a", target, names))
