"""A wheel from the package index that pip is configured for, without installing it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from effc.core.errors import BackendFailed, BackendMissing

DEADLINE_S = 600.0
_FLAGS = ("--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--quiet", "--no-input")


def download(wanted: str, folder: Path, stage: str, flags: Sequence[str] = ()) -> Path:
    """One wheel without its dependencies, downloaded into `folder` by the pip of this Python.

    Args:
        wanted: `package==version`.
        stage: what errors name as the stage.
        flags: more of pip's, such as those that ask for another platform.

    Raises:
        BackendMissing: this Python has no pip.
        BackendFailed: pip could not get the package.
    """
    command = [sys.executable, "-m", "pip", "download", *_FLAGS, *flags, "--dest", str(folder), wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BackendFailed(f"pip took over {DEADLINE_S:g} s for {wanted}", stage=stage) from error
    if done.returncode:
        raise _pip_error(wanted, done.stderr, stage)
    (found,) = folder.glob("*.whl")
    return found


def _pip_error(wanted: str, log: str, stage: str) -> BackendFailed | BackendMissing:
    """What pip's last words mean."""
    if "No module named pip" in log:
        line = f"{sys.executable} -m ensurepip"
        return BackendMissing("pip is missing, which fetches packages", where=stage, hint=line)
    errors = [line for line in log.splitlines() if line.startswith("ERROR")] or log.splitlines()[-1:]
    what = f"pip could not download {wanted}: {' '.join(errors)}"
    return BackendFailed(what, stage=stage, log=log, hint="check pip's network and index")
