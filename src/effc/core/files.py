"""Files that are whole or absent: hashes, atomic writes and atomic folders."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from effc.core.errors import BadInput

_STAGING = ".effc-tmp-"


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes, *, overwrite: bool = True) -> None:
    """Write `data` beside `path` and rename it into place. Raises what `staged_file` does."""
    with staged_file(path, overwrite=overwrite) as staging:
        staging.write_bytes(data)


@contextmanager
def staged_file(final: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a path of the same name in a temporary folder; what is written beside it comes along.

    On success every file there goes into `final`'s folder, `final` itself last; on failure nothing stays. Where `final`
    is a link, what it leads to is written. Raises BadInput where it cannot be written, or is there by then and
    `overwrite` is false.
    """
    refuse_no_file(final)
    final = Path(os.path.realpath(final))
    with writing(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        staging = tempfile.TemporaryDirectory(prefix=_STAGING, dir=final.parent)
    with writing(final), staging as folder:
        yield Path(folder) / final.name
        made = sorted(Path(folder).iterdir(), key=lambda path: path.name == final.name)
        moves = [(path, final.with_name(path.name)) for path in made]
        if overwrite:
            for source, goal in moves:
                os.replace(source, goal)
        else:
            _publish(moves)


@contextmanager
def staged_folder(final: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary sibling of `final`; on success it takes `final`'s place, on failure it is removed.

    The folder that it replaces stays until the new one is whole. What a killed build left behind is swept first.
    Raises BadInput when `final` exists, before or after, and `overwrite` is false, or where it cannot be written.
    """
    refuse_existing(final, overwrite=overwrite)
    with writing(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        _sweep(final)
        staging = Path(tempfile.mkdtemp(prefix=f"{_STAGING}{final.name}-{os.getpid()}-", dir=final.parent))
    try:
        with writing(final):
            staging.chmod(0o755)
            yield staging
            refuse_existing(final, overwrite=overwrite)
            _swap(staging, final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise BadInput when `path` is there and may not be replaced, or what should be its folder is none."""
    if os.path.lexists(path) and not overwrite:
        raise _exists(path)
    above = next((folder for folder in path.absolute().parents if os.path.lexists(folder)), path)
    if not (os.path.isdir(above) and os.access(above, os.W_OK)):
        what = "it is no folder, or none that may be written to"
        raise BadInput(what, where=str(above), hint="name another output")


def refuse_existing_file(path: Path, *, overwrite: bool) -> None:
    """`refuse_existing` for what is to be a file: folders, devices, pipes and the like are never replaced."""
    refuse_no_file(path)
    if os.path.lexists(path) and not overwrite:
        raise _exists(path)
    refuse_existing(Path(os.path.realpath(path)), overwrite=overwrite)


def refuse_no_file(path: Path) -> None:
    """Raise BadInput when `path` leads to something that is no regular file, or nowhere as a link to itself does."""
    if str(path) == "-":
        raise BadInput("nothing is written to standard output", where="-", hint="name a file")
    goal = os.path.realpath(path)
    if os.path.islink(goal) or (os.path.exists(path) and not os.path.isfile(path)):
        raise BadInput("it cannot be written: it is no regular file", where=str(path), hint="name another output")


def _exists(path: Path) -> BadInput:
    return BadInput("it exists already", where=str(path), hint="--overwrite replaces it")


@contextmanager
def writing(final: Path) -> Iterator[None]:
    """What the system refuses (no room, no permission, no such folder) becomes a BadInput that names the file."""
    try:
        yield
    except OSError as error:
        hint = "make room, or name another output"
        raise BadInput(f"it cannot be written ({error})", where=str(final), hint=hint) from error


def _publish(moves: Sequence[tuple[Path, Path]]) -> None:
    """Move files to where nothing is, all or none. Raises BadInput when something is there."""
    done: list[Path] = []
    try:
        for source, goal in moves:
            _place(source, goal)
            done.append(goal)
    except BaseException as error:
        for placed in done:
            placed.unlink()
        if isinstance(error, FileExistsError):
            raise _exists(goal) from error
        raise


def _place(source: Path, goal: Path) -> None:
    """Give a file a second name, which no file has yet; where the file system knows no links, take the name first."""
    try:
        os.link(source, goal)
    except FileExistsError:
        raise
    except OSError:
        goal.open("xb").close()
        os.replace(source, goal)


def _swap(staging: Path, final: Path) -> None:
    """Rename the new folder into place; the old one steps aside for an instant and is put back on failure."""
    if not os.path.lexists(final):
        os.rename(staging, final)
        return
    aside = final.with_name(f"{_STAGING}{final.name}-{os.getpid()}-old")
    os.rename(final, aside)
    try:
        os.rename(staging, final)
    except OSError:
        os.rename(aside, final)
        raise
    aside.unlink() if aside.is_symlink() or not aside.is_dir() else shutil.rmtree(aside)


def _sweep(final: Path) -> None:
    """Remove what builds of `final` whose process is gone left behind; restore an old folder caught mid-swap."""
    for leftover in sorted(final.parent.glob(f"{_STAGING}{final.name}-*")):
        owner = leftover.name.removeprefix(f"{_STAGING}{final.name}-").split("-")[0]
        if not owner.isdigit() or _alive(int(owner)):
            continue
        if leftover.name.endswith("-old") and not final.exists():
            os.rename(leftover, final)
        else:
            shutil.rmtree(leftover, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
