"""Files that are whole or absent: hashes, atomic writes and atomic folders."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from effc.core.errors import BadInput

_STAGING = ".effc-tmp-"


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` beside `path` and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=_STAGING, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def staged_file(final: Path) -> Iterator[Path]:
    """Yield a path of the same name in a temporary folder; what is written beside it comes along.

    On success every file there is renamed into `final`'s folder, `final` itself last; on failure nothing stays.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_STAGING, dir=final.parent) as folder:
        yield Path(folder) / final.name
        for path in sorted(Path(folder).iterdir(), key=lambda path: path.name == final.name):
            os.replace(path, final.with_name(path.name))


@contextmanager
def staged_folder(final: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary sibling of `final`; on success it takes `final`'s place, on failure it is removed.

    The folder that it replaces stays until the new one is whole. What a killed build left behind is swept first.
    Raises BadInput when `final` exists and `overwrite` is false.
    """
    refuse_existing(final, overwrite=overwrite)
    final.parent.mkdir(parents=True, exist_ok=True)
    _sweep(final)
    staging = Path(tempfile.mkdtemp(prefix=f"{_STAGING}{final.name}-{os.getpid()}-", dir=final.parent))
    staging.chmod(0o755)
    try:
        yield staging
        _swap(staging, final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise BadInput when `path` is there and may not be replaced."""
    if path.exists() and not overwrite:
        raise BadInput("it exists already", where=str(path), hint="--overwrite replaces it")


def _swap(staging: Path, final: Path) -> None:
    """Rename the new folder into place; the old one steps aside for an instant and is put back on failure."""
    if not final.exists():
        os.rename(staging, final)
        return
    aside = final.with_name(f"{_STAGING}{final.name}-{os.getpid()}-old")
    os.rename(final, aside)
    try:
        os.rename(staging, final)
    except OSError:
        os.rename(aside, final)
        raise
    shutil.rmtree(aside) if aside.is_dir() else aside.unlink()


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
