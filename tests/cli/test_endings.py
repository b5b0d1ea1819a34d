"""How a command ends that is interrupted, or that cannot do its work: its exit code, and what it leaves behind."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import onnx
import onnx.parser
import pytest
from cli_support import Command

INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from effc.cli.main import main
from effc.verbs import doctor
doctor.doctor = lambda: exec("signal.raise_signal(signal.SIGINT)")
sys.argv = ["effc", "doctor"]
sys.exit(main())
"""


def test_an_interrupt_within_exec_is_130_too(tmp_path: Path) -> None:
    """Dataclasses are made by `exec`, while modules are imported."""
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    words = [sys.executable, "-m", "interrupted"]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "interrupted\n")


def test_no_folder_is_left_where_a_model_cannot_be_run(
    tmp_path: Path, effc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scratch := tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    text = '<ir_version: 10, opset_import: ["": 21]> g (float[N] x) => (float[N] y) { y = Relu(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    ran = effc("simplify", tmp_path / "m.onnx", tmp_path / "out.onnx", "--shape", "x:100000000")
    assert ran.code == 2 and "too large to try" in ran.err
    assert list(scratch.glob("effc-*")) == []
