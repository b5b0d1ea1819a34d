"""Artifacts through `device.run`: on this machine, and ARM's in an emulator, against the same numbers."""

from __future__ import annotations

import platform
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tvm_models

from effc.backends.tvm.toolchain import device
from effc.backends.tvm.toolchain.bundle import bundle
from effc.bench import accuracy
from effc.core.artifact import Artifact
from effc.core.errors import BackendFailed, BadInput

ROWS = (1, 1, 3, 2)
"""Rows of four calls: two share a process, the others have shapes of their own."""


def check(folder: Path, name: str) -> None:
    calls = [tvm_models.feeds(name, rows, seed) for seed, rows in enumerate(ROWS)]
    found = device.run(Artifact.open(folder), calls)
    assert len(found) == len(calls)
    for given, outputs in zip(calls, found, strict=True):
        wanted = tvm_models.expected(name, given)
        assert list(outputs) == list(wanted)
        for key, values in outputs.items():
            assert values.shape == wanted[key].shape
            assert np.abs(values - wanted[key]).max() <= (1e-6 if values.dtype == np.float32 else 0), key


@pytest.mark.parametrize("name", tvm_models.INTERFACES)
def test_native(libraries: Path, name: str) -> None:
    check(libraries / name, name)


@pytest.mark.parametrize("name", tvm_models.INTERFACES)
def test_emulated(emulated: Path, name: str) -> None:
    """Integer sums are those of `sdot`, bit for bit."""
    check(emulated / name, name)


def test_verification_says_where_it_ran(emulated: Path) -> None:
    given = tvm_models.feeds("dense")
    wanted = {name: values.astype(np.float32) for name, values in tvm_models.expected("dense", given).items()}
    found = accuracy.verify(Artifact.open(emulated / "dense"), [(given, wanted)])
    assert found.outputs[0].max_abs <= 1e-6
    assert found.host == "qemu"


def test_integer_kernel_is_a_dot_product(emulated: Path) -> None:
    """The encoding of `sdot vd.4s, vn.16b, vm.16b` occurs: 0x4e809400 but for the registers."""
    content = (emulated / "integer" / "model.so").read_bytes()
    code = np.frombuffer(content[: len(content) // 4 * 4], np.uint32)
    assert np.any((code & 0xFFE0FC00) == 0x4E809400)


def test_other_machines_artifact_is_refused(libraries: Path, emulated: Path, tmp_path: Path) -> None:
    """The emulated program says what the native one would of an ARM artifact."""
    spoiled = Path(shutil.copytree(libraries / "dense", tmp_path / "dense"))
    text = (spoiled / "manifest.json").read_text()
    (spoiled / "manifest.json").write_text(text.replace(Artifact.open(spoiled).manifest.target, "tvm-arm64-fp32"))
    with pytest.raises(BadInput, match=r"model\.so: it is for x86, this machine is arm64"):
        device.run(Artifact.open(spoiled), [tvm_models.feeds("dense")])


def test_cpu_without_the_instructions(emulated: Path, tmp_path: Path) -> None:
    """Found before the run where the manifest says what is needed, else by the kernel itself."""
    call = [tvm_models.feeds("integer")]
    with pytest.raises(BackendFailed, match="uses instructions that this CPU lacks"):
        device.run(Artifact.open(emulated / "integer"), call, cpu="cortex-a53")
    folder = Path(shutil.copytree(emulated / "integer", tmp_path / "integer"))
    replace(Artifact.open(folder).manifest, toolchain={"cpu_requires": "asimd asimddp"}).write(folder, {})
    with pytest.raises(BadInput, match="needs instructions that this CPU lacks: asimddp"):
        device.run(Artifact.open(folder), call, cpu="cortex-a53")
    assert len(device.run(Artifact.open(folder), call)) == 1


def test_bundle_is_whole() -> None:
    """All that a device needs."""
    folder = bundle(platform.machine()).folder
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    libraries = {f"lib/{name}.so" for name in ("libeffc", "libtvm_runtime", "libtvm_ffi")}
    assert files == {"bin/effc-run", "include/effc.h", *libraries}
