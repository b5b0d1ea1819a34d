"""Packages: sealed where the GPU is not, finished elsewhere with no other input, and never left half-made."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import support
from cli_support import Command, contents

from effc.cli.main import main
from effc.compiler import ir
from effc.core.manifest import FILE_NAME, Manifest

SEALED = {"typed.onnx", "statistics.npz", "reference.npz", "manifest.json", "measured.json"}
TARGETS = ("trt-int8", "rtx-int8:sm89")


@pytest.fixture(scope="module")
def sealed(cache: Path, mnist: support.Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mnist_minimobile sealed for both families."""
    del cache
    folder = tmp_path_factory.mktemp("sealed")
    words = ("build", mnist.model, "--target", ",".join(TARGETS), "--calib", mnist.calib, "--eval", mnist.evaluation)
    assert main([str(word) for word in (*words, "--defer", "--timing-cache", "none", "-o", folder)]) == 0
    return folder


@pytest.fixture
def package(sealed: Path, tmp_path: Path) -> Path:
    """A copy of the rtx package, to be spoilt or finished."""
    return Path(shutil.copytree(sealed / "rtx-int8-sm89", tmp_path / "package"))


@pytest.mark.parametrize("name", ["trt-int8", "rtx-int8-sm89"])
def test_a_package_holds_all_but_the_engine(sealed: Path, name: str) -> None:
    manifest = Manifest.read(sealed / name)
    assert {path.name for path in (sealed / name).iterdir()} == SEALED
    assert (manifest.sealed, manifest.main) == (True, "model.engine")
    assert manifest.verification is not None and manifest.verification.top1 is not None
    assert manifest.verification.of == "typed-onnx"
    assert manifest.verification.top1.float - manifest.verification.top1.artifact <= 0.01


def test_finished_it_is_what_a_direct_build_makes(
    package: Path, mnist: support.Classifier, tmp_path: Path, effc: Command
) -> None:
    words = ("build", mnist.model, "--target", TARGETS[1], "--calib", mnist.calib, "--eval", mnist.evaluation)
    assert effc(*words, "--timing-cache", "none", "-o", tmp_path / "direct").code == 0
    assert effc("build", package, "--timing-cache", "none").code == 0
    direct, finished = contents(tmp_path / "direct" / "rtx-int8-sm89"), contents(package)
    assert finished.keys() - direct.keys() == {"statistics.npz"}
    assert [name for name in direct if name != FILE_NAME and direct[name] != finished[name]] == []
    one, other = (Manifest.read(folder) for folder in (tmp_path / "direct" / "rtx-int8-sm89", package))
    assert (one.verification, one.toolchain) == (other.verification, other.toolchain)


def test_it_can_be_finished_elsewhere(package: Path, tmp_path: Path, effc: Command) -> None:
    before = contents(package)
    assert effc("build", package, "-o", tmp_path / "out", "--timing-cache", "none").code == 0
    assert contents(package) == before
    assert (tmp_path / "out" / "rtx-int8-sm89" / "model.engine").exists()
    assert effc("verify", tmp_path / "out" / "rtx-int8-sm89").code == 0
    assert effc("build", tmp_path / "out" / "rtx-int8-sm89").code == 2


def test_weights_beside_the_model_travel_along(
    mnist: support.Classifier, tmp_path: Path, effc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from 2 GiB on, here from a few bytes on."""
    monkeypatch.setattr(ir, "INLINE_LIMIT", 1 << 24)
    words = ("build", mnist.model, "--target", "rtx-fp32:sm89", "--defer", "-o", tmp_path, "--no-proof")
    assert effc(*words).code == 0
    package = tmp_path / "rtx-fp32-sm89"
    assert "typed.onnx.data" in {file.path for file in Manifest.read(package).files}
    assert effc("build", package).code == 0
    assert effc("verify", package).code == 0


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


SPOILT: dict[str, Callable[[Path], object]] = {
    "typed.onnx": lambda folder: flip(folder / "typed.onnx"),
    "reference.npz": lambda folder: flip(folder / "reference.npz"),
    "statistics.npz": lambda folder: (folder / "statistics.npz").unlink(),
    "manifest.json": lambda folder: (folder / FILE_NAME).write_text("{"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_damaged_package_is_named_and_left(package: Path, effc: Command, name: str) -> None:
    SPOILT[name](package)
    before = contents(package)
    ran = effc("build", package)
    assert ran.code == 2
    assert name in ran.err
    assert contents(package) == before


def test_without_the_library_it_says_how_to_get_it(sealed: Path, effc: Command) -> None:
    before = contents(sealed / "trt-int8")
    ran = effc("build", sealed / "trt-int8")
    assert ran.code == 5
    assert "pip install" in ran.err
    assert contents(sealed / "trt-int8") == before


def test_a_build_without_the_library_names_both_ways_out(
    mnist: support.Classifier, tmp_path: Path, effc: Command
) -> None:
    ran = effc("build", mnist.model, "--target", "trt-int8", "--calib", mnist.calib, "-o", tmp_path / "out")
    assert ran.code == 5
    assert "pip install" in ran.err and "--defer" in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["run", "bench"])
def test_a_package_does_not_run(package: Path, tmp_path: Path, effc: Command, verb: str) -> None:
    more = ("--input", package / "reference.npz", "-o", tmp_path / "y.npz") if verb == "run" else ()
    ran = effc(verb, package, *more)
    assert ran.code == 2
    assert f"effc build {package}" in ran.err


FLAGS = [
    ("--target", "rtx-int8"),
    ("-o", "{package}/typed.onnx"),
    ("--builder-level", "5"),
    ("--no-tf32",),
    ("--calib", "random"),
    ("--shape-range", "input:1x1x28x28"),
    ("--dry-run", "--workspace", "64"),
]


@pytest.mark.parametrize("flags", FLAGS)
def test_flags_that_make_no_sense(package: Path, effc: Command, flags: tuple[str, ...]) -> None:
    before = contents(package)
    ran = effc("build", package, *(flag.format(package=package) for flag in flags))
    assert ran.code == 2
    assert contents(package) == before


def test_a_dry_run_builds_nothing(package: Path, sealed: Path, effc: Command) -> None:
    before = contents(package)
    assert effc("build", package, "--dry-run").code == 0
    assert contents(package) == before
    assert effc("build", package, "--dry-run", "-o", package.parent / "out").code == 0
    assert not (package.parent / "out").exists()
    assert effc("build", sealed / "trt-int8", "--dry-run").code == 5


def test_the_deadline_is_this_machine_s(package: Path, effc: Command) -> None:
    spoken = json.loads((package / FILE_NAME).read_text())
    spoken["engine"]["timeout_s"] = 1e-3
    (package / FILE_NAME).write_text(json.dumps(spoken))
    ran = effc("build", package)
    assert (ran.code, "--build-timeout" in ran.err) == (6, True)
    assert effc("build", package, "--build-timeout", "10m").code == 0


KILLED = """
import os, signal, sys
from pathlib import Path
import effc.finish
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
setattr(effc.finish, sys.argv[1], die)
effc.finish.finish(effc.finish.FinishOptions(Path(sys.argv[2]), timing_cache=""))
"""


@pytest.mark.parametrize("point", ["_stated", "_verified", "_measured"])
def test_killed_it_stays_a_package(package: Path, effc: Command, point: str) -> None:
    before = contents(package)
    program = [sys.executable, "-c", KILLED, point, str(package)]
    assert subprocess.run(program, check=False, capture_output=True).returncode == -9
    assert contents(package) == before
    assert effc("build", package, "--timing-cache", "none").code == 0
    assert "package" in os.listdir(package.parent)
    assert [name for name in os.listdir(package.parent) if name.startswith(".effc-tmp-")] == []


ENDED = [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 130)]

HEARING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from effc.cli.main import main
sys.exit(main())
"""
"""The command, which hears SIGINT even where a shell started the tests behind `&` and has it ignored."""


@pytest.mark.parametrize(("number", "code"), ENDED)
def test_told_to_end_it_sweeps(mnist: support.Classifier, tmp_path: Path, number: signal.Signals, code: int) -> None:
    """While the child builds: neither it, nor the half artifact, nor scratch files stay."""
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    words = ["build", mnist.model, "--target", "rtx-fp32", "--shape-range", "input:1x1x28x28,64x1x28x28,512x1x28x28"]
    program = [sys.executable, "-c", HEARING, *map(str, words), "--builder-level", "5", "-o", str(out)]
    ran = subprocess.Popen(program, env={**os.environ, "TMPDIR": str(scratch)}, stderr=subprocess.DEVNULL)
    while ran.poll() is None and not list(out.glob(".effc-tmp-*/typed.onnx")):
        time.sleep(0.01)
    ran.send_signal(number)
    assert ran.wait(30) == code
    assert list(out.iterdir()) == list(scratch.glob("effc-*")) == []
