"""`effc build`: killed at any stage it leaves nothing, twice run it writes the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import Built, Command, contents

KILLED = """
import os, signal, sys
import effc.build
from effc.cli import arguments, commands
from effc.core import files
from effc.core.progress import Progress

point = sys.argv[1]
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
class Deadly(Progress):
    def begin(self, name):
        if name == point: die()
    def end(self, name):
        if name + " done" == point: die()
effc.build.Progress = Deadly
if point == "rename": files._swap = die
effc.build.build(commands.build_options(arguments.parse(sys.argv[2:])), Deadly())
"""
POINTS = ("calibrate", "emit", "verify", "rename")


def killed(point: str, built: Built, out: Path) -> int:
    model = built.model
    words = ["build", model.model, "--target", "ort-int8", "--calib", model.calib, "--samples", 8, "-o", out]
    words += ["--no-proof", "--overwrite"]
    program = [sys.executable, "-c", KILLED, point, *map(str, words)]
    return subprocess.run(program, check=False, capture_output=True).returncode


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_build_leaves_no_artifact(built: Built, tmp_path: Path, point: str) -> None:
    assert killed(point, built, tmp_path / "o") == -9
    assert not (tmp_path / "o" / "ort-int8").exists()
    if point == POINTS[-1]:
        assert killed("never", built, tmp_path / "o") == 0
        assert os.listdir(tmp_path / "o") == ["ort-int8"]
        old = contents(tmp_path / "o" / "ort-int8")
        assert killed(point, built, tmp_path / "o") == -9
        assert contents(tmp_path / "o" / "ort-int8") == old


@pytest.mark.parametrize("target", ["ort-fp32", "ort-int8"])
def test_two_builds_give_the_same_bytes(built: Built, tmp_path: Path, effc: Command, target: str) -> None:
    words = list(built.words("--target", target))
    words[words.index("-o") + 1] = tmp_path / "again"
    assert effc(*words).code == 0
    first, second = contents(built.folder / target), contents(tmp_path / "again" / target)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_overwrite_replaces(built: Built, tmp_path: Path, effc: Command) -> None:
    words = ["build", built.model.model, "--target", "ort-fp32", "-o", tmp_path / "o", "--no-proof"]
    assert effc(*words).code == 0
    (tmp_path / "o" / "ort-fp32" / "model.onnx").write_bytes(b"spoilt")
    assert effc(*words).code == 2
    assert effc(*words, "--overwrite", "--no-reference").code == 0
    ran = effc("verify", tmp_path / "o" / "ort-fp32")
    assert ran.code == 2
    assert "reference.npz" in ran.err
