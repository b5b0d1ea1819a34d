"""Children that are started before anyone asks them: taken once, and ended where nobody takes them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from effc.cli.main import main
from effc.core import ahead
from effc.core.worker import Worker

MODULE = "calendar"


def children() -> set[str]:
    """Processes that this one has started and that have not been waited for."""
    return {word for task in Path("/proc/self/task").iterdir() for word in (task / "children").read_text().split()}


def taken() -> Worker:
    return ahead.take(MODULE, "s", 60.0)


def test_a_child_is_taken_once() -> None:
    before = children()
    with ahead.started([MODULE]):
        (waiting,) = children() - before
        with taken() as first, taken() as second:
            assert str(first.call("os:getpid")) == waiting != str(second.call("os:getpid"))
            assert (first.stage, first.deadline) == (second.stage, second.deadline) == ("s", 60.0)
    assert children() == before


def test_one_that_is_taken_outlives_the_context() -> None:
    with ahead.started([MODULE]):
        worker = taken()
    with worker:
        assert worker.call("math:sqrt", 9.0) == 3.0


def test_nothing_waits_unless_it_was_started() -> None:
    with taken() as worker:
        assert worker.call("math:sqrt", 9.0) == 3.0


def test_those_that_nobody_takes_end_also_after_an_error() -> None:
    before = children()
    with pytest.raises(KeyError), ahead.started([MODULE, "bisect"]):
        raise KeyError
    assert children() == before


def test_one_that_has_died_does_no_harm() -> None:
    before = children()
    with ahead.started([MODULE]):
        (waiting,) = children() - before
        os.kill(int(waiting), signal.SIGKILL)
    assert children() == before


@pytest.mark.parametrize(
    "words", ["simplify {tmp}/none.onnx {tmp}/out.onnx", "simplify {tmp}/in.onnx {tmp}/in.onnx", "check {tmp}/in.onnx"]
)
def test_a_verb_that_refuses_leaves_no_child_behind(words: str, tmp_path: Path) -> None:
    (tmp_path / "in.onnx").write_bytes(b"no model")
    before = children()
    assert main(words.format(tmp=tmp_path).split()) == 2
    assert children() == before
