"""Files and folders: whole or absent, even when the writer is killed."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from effc.core import files
from effc.core.errors import BadInput
from effc.core.files import refuse_existing, refuse_existing_file, sha256, staged_file, staged_folder, write_atomic

BUILD = """
import os, signal, sys
from pathlib import Path
from effc.core import files

point, final = sys.argv[1], Path(sys.argv[2])
def die(): os.kill(os.getpid(), signal.SIGKILL)
rename = os.rename
def dying_rename(source, goal):
    if point == "before rename " + str(dying_rename.count): die()
    dying_rename.count += 1
    rename(source, goal)
dying_rename.count = 0
files.os.rename = dying_rename
if point == "before sweep of old":
    files.shutil.rmtree = lambda *args, **kwargs: die()
with files.staged_folder(final, overwrite=True) as folder:
    if point == "empty": die()
    (folder / "model").write_text("new")
    if point == "half": die()
    (folder / "manifest.json").write_text("new")
    if point == "full": die()
"""


def killed_at(point: str, final: Path) -> int:
    return subprocess.run([sys.executable, "-c", BUILD, point, str(final)], check=False).returncode


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


NEW = {"model": "new", "manifest.json": "new"}
OLD = {"model": "old"}
EARLY = ("empty", "half", "full", "before rename 0")


@pytest.mark.parametrize("point", EARLY)
def test_a_killed_build_leaves_nothing(tmp_path: Path, point: str) -> None:
    final = tmp_path / "out"
    assert killed_at(point, final) == -9
    assert not final.exists()
    assert killed_at("never", final) == 0
    assert contents(final) == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("point", EARLY)
def test_a_killed_rebuild_leaves_the_old_one(tmp_path: Path, point: str) -> None:
    final = tmp_path / "out"
    write_atomic(final / "model", b"old")
    assert killed_at(point, final) == -9
    assert contents(final) == OLD
    assert killed_at("never", final) == 0
    assert contents(final) == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("point", ["before rename 1", "before sweep of old"])
def test_a_kill_within_the_swap_is_mended_by_the_next_build(tmp_path: Path, point: str) -> None:
    final = tmp_path / "out"
    write_atomic(final / "model", b"old")
    assert killed_at(point, final) == -9
    assert not final.exists() or contents(final) in (OLD, NEW)
    with pytest.raises(RuntimeError), staged_folder(final, overwrite=True):
        assert contents(final) in (OLD, NEW)
        raise RuntimeError
    assert contents(final) in (OLD, NEW)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError), staged_folder(tmp_path / "out", overwrite=False) as folder:
        (folder / "x").write_text("x")
        raise ValueError
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    final = tmp_path / "out"
    write_atomic(final / "model", b"old")
    with pytest.raises(BadInput, match="exists already"), staged_folder(final, overwrite=False):
        pytest.fail("the block must not run")
    assert contents(final) == OLD


def test_a_running_build_is_not_swept(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "out", overwrite=True) as first:
        (first / "x").write_text("first")
        with staged_folder(tmp_path / "out", overwrite=True) as second:
            (second / "x").write_text("second")
        assert (first / "x").exists()
    assert contents(tmp_path / "out") == {"x": "first"}


def test_a_file_and_what_lies_beside_it(tmp_path: Path) -> None:
    final = tmp_path / "m.onnx"
    with staged_file(final) as path:
        path.write_text("graph")
        path.with_name("m.onnx.data").write_text("weights")
    assert contents(tmp_path) == {"m.onnx": "graph", "m.onnx.data": "weights"}
    with pytest.raises(ValueError), staged_file(final) as path:
        path.write_text("other")
        raise ValueError
    assert contents(tmp_path) == {"m.onnx": "graph", "m.onnx.data": "weights"}


@pytest.mark.parametrize("limit", [0, 4096])
def test_no_room_is_told_and_leaves_nothing(tmp_path: Path, limit: int) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(BadInput, match="f: it cannot be written"):
            write_atomic(tmp_path / "f", bytes(10_000))
        with pytest.raises(BadInput, match="out: it cannot"), staged_folder(tmp_path / "out", overwrite=True) as folder:
            (folder / "x").write_bytes(bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["file/out", "file/deep/out"])
def test_a_place_that_cannot_be_is_told_at_once(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="file: it is no folder"):
        refuse_existing(tmp_path / path, overwrite=True)
    with pytest.raises(BadInput, match="it cannot be written"), staged_file(tmp_path / path):
        pytest.fail("the block must not run")


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "out" / "model", b"old")
    with pytest.raises(BadInput, match="out: it cannot be written"):
        write_atomic(tmp_path / "out", b"new")
    assert contents(tmp_path / "out") == OLD


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    write_atomic(tmp_path / "there" / "model", b"old")
    for goal in ("there", "nowhere"):
        (tmp_path / "out").symlink_to(tmp_path / goal)
        with staged_folder(tmp_path / "out", overwrite=True) as folder:
            (folder / "model").write_text("new")
        assert contents(tmp_path / "out") == {"model": "new"}
        assert contents(tmp_path / "there") == OLD
        shutil.rmtree(tmp_path / "out")


def test_the_slower_of_two_builds_does_not_replace_the_other(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="exists already"), staged_folder(tmp_path / "out", overwrite=False) as folder:
        (folder / "model").write_text("slow")
        write_atomic(tmp_path / "out" / "model", b"old")
    assert contents(tmp_path / "out") == OLD
    assert os.listdir(tmp_path) == ["out"]


def test_write_atomic_replaces(tmp_path: Path) -> None:
    for data in (b"one", b"two"):
        write_atomic(tmp_path / "deep" / "f", data)
    assert (tmp_path / "deep" / "f").read_bytes() == b"two"
    assert os.listdir(tmp_path / "deep") == ["f"]


def test_sha256(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "f").write_bytes(data)
    assert sha256(tmp_path / "f") == hashlib.sha256(data).hexdigest()


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


NO_FILES: dict[str, Callable[[Path], None]] = {
    "fifo": os.mkfifo,
    "socket": _socket,
    "folder": lambda path: path.mkdir(),
    "link to a fifo": lambda path: (os.mkfifo(path.with_name("fifo")), path.symlink_to("fifo"))[1],
    "link to itself": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("overwrite", [False, True])
def test_only_files_are_replaced(tmp_path: Path, kind: str, overwrite: bool) -> None:
    out = tmp_path / "out"
    NO_FILES[kind](out)
    before = os.lstat(out)
    with pytest.raises(BadInput, match="it is no regular file"):
        refuse_existing_file(out, overwrite=overwrite)
    with pytest.raises(BadInput, match="it is no regular file"):
        write_atomic(out, b"new", overwrite=overwrite)
    assert os.lstat(out) == before


def test_a_dash_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=r"standard output\s.*name a file"):
        refuse_existing_file(Path("-"), overwrite=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [True, False])
def test_a_file_is_written_through_a_link(tmp_path: Path, there: bool) -> None:
    goal, link = tmp_path / "deep" / "goal", tmp_path / "link"
    if there:
        write_atomic(goal, b"old")
    link.symlink_to(goal)
    with pytest.raises(BadInput, match="exists already"):
        refuse_existing_file(link, overwrite=False)
    refuse_existing_file(link, overwrite=True)
    write_atomic(link, b"new")
    assert link.is_symlink() and goal.read_bytes() == b"new"
    assert os.listdir(goal.parent) == ["goal"]


@pytest.mark.parametrize("linked", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("name", ["m", "m.data"])
def test_the_slower_of_two_files_does_not_replace_the_other(
    tmp_path: Path, name: str, linked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(source: Path, goal: Path) -> None:
        raise PermissionError(errno.EPERM, "no links here", str(source))

    if not linked:
        monkeypatch.setattr(files.os, "link", refused)
    refusal = pytest.raises(BadInput, match=rf"{name}: it exists already\s.*--overwrite")
    with refusal, staged_file(tmp_path / "m", overwrite=False) as path:
        path.write_text("slow")
        path.with_name("m.data").write_text("slow")
        (tmp_path / name).write_text("fast")
    assert contents(tmp_path) == {name: "fast"}
    (tmp_path / name).unlink()
    write_atomic(tmp_path / "m", b"alone", overwrite=False)
    assert contents(tmp_path) == {"m": "alone"}
