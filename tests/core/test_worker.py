"""Children: errors cross over whole, crashes and hangs become reports."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from effc.core.errors import BackendFailed, BackendMissing, BadInput, EffcError, Refusal, UnsupportedOps
from effc.core.progress import Progress
from effc.core.worker import Worker, call, canonical, packed

ERRORS = [
    BadInput("wrong", where="file", hint="mend it"),
    BackendMissing("absent", hint="pip install it"),
    BackendFailed("broke", stage="emit", log="tail"),
    UnsupportedOps("t-int8", [Refusal("n", "Foo", "no lowering", "hint")], where="m.onnx"),
]


HELPERS = """
import os, signal, sys, time
def loud(): print("a last word", file=sys.stderr, flush=True); os.abort()
def hang(): time.sleep(600)
def leave(): os._exit(7)
def fail(): raise ValueError("plain")
def echo(data): return data
def has(name): return name in sys.modules
def count(n, *, report): [report(i + 1, n) for i in range(n)]; return "done"
def tell_and_hang(path):
    open(path, "w").write(str(os.getpid()))
    hang()
def raised(error): raise error
class Counter:
    def __init__(self, start): self.n = start
    def up(self, by): self.n += by; return self.n
"""


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that the child can import: its functions do what vendor libraries do on bad days."""
    (tmp_path / "child_helpers.py").write_text(HELPERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "child_helpers"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_cross_whole(helpers: str, error: EffcError) -> None:
    with pytest.raises(type(error)) as caught:
        call(f"{helpers}:raised", error, stage="s")
    assert caught.value.__dict__ == error.__dict__
    assert str(caught.value) == str(error)


DEATHS = [("loud", "SIGABRT", "a last word"), ("leave", "status 7", ""), ("fail", "ValueError: plain", "Traceback")]


@pytest.mark.parametrize(("function", "what", "log"), DEATHS)
def test_deaths_become_reports(helpers: str, function: str, what: str, log: str) -> None:
    with pytest.raises(BackendFailed) as caught:
        call(f"{helpers}:{function}", stage="emit tflite")
    assert what in caught.value.what
    assert log in caught.value.log
    assert caught.value.stage == "emit tflite"


def test_a_hang_ends_at_its_deadline(helpers: str) -> None:
    with Worker("slow", deadline=1.0) as worker:
        with pytest.raises(BackendFailed, match="no answer within 1 s"):
            worker.call(f"{helpers}:hang")
        child = worker._process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_objects_stay_in_the_child(helpers: str) -> None:
    with Worker("s") as worker:
        worker.make("a", f"{helpers}:Counter", 5)
        worker.make("b", f"{helpers}:Counter", 0)
        assert [worker.method("a", "up", 1), worker.method("b", "up", 1), worker.method("a", "up", 2)] == [6, 1, 8]


def test_a_failed_call_leaves_the_child_usable(helpers: str) -> None:
    with Worker("s") as worker:
        with pytest.raises(BackendFailed):
            worker.call(f"{helpers}:fail")
        assert worker.call(f"{helpers}:echo", 3) == 3


def test_what_is_named_in_advance_is_imported_as_far_as_it_can_be(helpers: str) -> None:
    with Worker("s", preload=("no_such_module", "calendar")) as worker:
        assert worker.call(f"{helpers}:has", "calendar")
        assert not worker.call(f"{helpers}:has", "no_such_module")


def test_what_is_named_later_is_imported_behind_the_answers(helpers: str) -> None:
    with Worker("s") as worker:
        assert not worker.call(f"{helpers}:has", "calendar")
        worker.preload("no_such_module", "calendar")
        assert wait_for(lambda: worker.call(f"{helpers}:has", "calendar"))


def test_a_child_that_has_died_takes_no_names(helpers: str) -> None:
    with Worker("s") as worker:
        with pytest.raises(BackendFailed, match="status 7"):
            worker.call(f"{helpers}:leave")
        worker.preload("calendar")
        assert not worker.alive


def test_a_child_whose_caller_fails_ends_at_once(helpers: str) -> None:
    with pytest.raises(KeyError), Worker("s") as worker:
        raise KeyError(helpers)
    assert worker._process.returncode == -signal.SIGKILL


def test_ctrl_c_is_the_parents_to_hear() -> None:
    """It reaches the whole group: a child that went by itself would be taken for one that crashed."""
    with Worker("test") as worker:
        pid = worker.call("os:getpid")
        os.kill(pid, signal.SIGINT)
        assert worker.call("os:getpid") == pid
        heard = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
        assert worker.call("subprocess:check_output", [sys.executable, "-c", heard]) == b"True\n"


@pytest.mark.parametrize("size", [0, 1, 65_536, 9_000_000])
def test_payloads_of_any_size(helpers: str, size: int) -> None:
    data = os.urandom(size)
    assert call(f"{helpers}:echo", data, stage="s") == data


def test_a_missing_function_is_reported() -> None:
    with pytest.raises(BackendFailed, match="nowhere"):
        call("nowhere:nothing", stage="s")


def test_a_fixed_child_has_the_same_addresses_anywhere(tmp_path: Path) -> None:
    """Where the system lets addresses be fixed; elsewhere it is a child like any other."""
    found = set()
    for place in (tmp_path / "a", tmp_path / "a_place_with_a_longer_name"):
        place.mkdir()
        found.add(call("effc.core.fixed:address", stage="address", fixed=place))
    assert len(found) == 1 or not call("effc.core.fixed:allowed", stage="allowed")


def test_equal_requests_are_equal_bytes_to_a_fixed_child() -> None:
    """Whether a part of them is one object or several."""
    shared, apart = (["name", (1, 2)] for _ in range(2))
    twice, copied = [shared, shared], [shared, apart]
    assert canonical(twice) == canonical(copied) != packed(twice)
    assert pickle.loads(canonical(twice)) == twice


class Heard(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, int | None]] = []

    def advance(self, done: int, total: int | None = None) -> None:
        self.told.append((done, total))


def test_progress_arrives_before_the_answer(helpers: str) -> None:
    heard = Heard()
    assert call(f"{helpers}:count", 3, stage="s", progress=heard) == "done"
    assert heard.told == [(1, 3), (2, 3), (3, 3)]


def test_a_child_ends_when_its_parent_is_killed(helpers: str, tmp_path: Path) -> None:
    """Even in the midst of a call that would take minutes."""
    program = "import sys; from effc.core.worker import call; call(*sys.argv[1:], stage='s')"
    parent = subprocess.Popen([sys.executable, "-c", program, f"{helpers}:tell_and_hang", str(tmp_path / "pid")])
    child = wait_for(lambda: (tmp_path / "pid").exists() and int((tmp_path / "pid").read_text() or 0))
    parent.kill()
    parent.wait()
    assert wait_for(lambda: not running(child))


def wait_for(condition: Callable[[], int]) -> int:
    """What the condition gives once it is true; 0 after half a minute."""
    for _ in range(300):
        if found := condition():
            return found
        time.sleep(0.1)
    return 0


def running(pid: int) -> bool:
    """Whether the process is there and not a zombie."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
