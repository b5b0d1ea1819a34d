"""Errors that nobody foresaw, as the user sees them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from effc.core.errors import BackendFailed, BadInput, EffcError, UnsupportedOps, unforeseen


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told(number: int) -> None:
    told = unforeseen(OSError(number, "it is full", "scratch/x"))
    assert isinstance(told, BadInput)
    assert told.where == "scratch/x" and "TMPDIR" in told.hint


@pytest.mark.parametrize("error", [ValueError("odd"), OSError(errno.EIO, "broken")])
def test_the_rest_is_ours(error: Exception) -> None:
    told = unforeseen(error, where="here")
    assert type(told) is EffcError and told.exit_code == 1
    assert type(error).__name__ in Path(told.hint.split("in ")[1].split(";")[0]).read_text()


@pytest.mark.parametrize("error", [BackendFailed("broke", stage="step 'a'"), UnsupportedOps("t", [], where="step 'a'")])
def test_an_error_is_given_its_file_once(error: EffcError) -> None:
    """Whatever its constructor takes."""
    for _ in range(2):
        error.place("m.onnx")
        assert error.where == "m.onnx step 'a'"
        assert str(error).startswith("m.onnx step 'a': ")
