"""In CI a test that skips because something is missing fails the run; elsewhere it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import support

NEEDS_NETWORK = "tests/zoo/test_samples.py::test_real_model_reads_the_pages"


@pytest.mark.parametrize("ci,exit_code", [("1", 1), ("", 0)])
def test_skip_for_want_of_a_tool(tmp_path: Path, ci: str, exit_code: int) -> None:
    offline = {"EFFC_CACHE": str(tmp_path), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "EFFC_ZOO": ""}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", NEEDS_NETWORK]
    done = subprocess.run(
        command,
        cwd=support.ROOT,
        env={**os.environ, **offline, "EFFC_CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 skipped" in done.stdout
    assert ("must run here" in done.stdout) == bool(ci)
    assert done.returncode == exit_code
