"""Arrays of .npz and .npy files, read sample by sample.

They are read and not mapped: mapped pages count as the process's memory, which would grow with the samples.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from effc.core.errors import BadInput

Array = NDArray[np.generic]
_UNREADABLE = (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, RuntimeError)


@dataclass(frozen=True)
class Member:
    """One array of a file; the first axis is samples."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows: Callable[[], Iterator[Array]]

    def whole(self) -> Array:
        """The whole array, for small ones such as labels."""
        rows = list(self.rows())
        return np.stack(rows) if rows else np.zeros(self.shape, self.dtype)


def open_npz(path: Path) -> dict[str, Member]:
    """The arrays of a .npz by name, not read yet. Raises BadInput when the file is no .npz or holds objects."""
    with readable(path), zipfile.ZipFile(path) as archive:
        entries = [e for e in archive.infolist() if e.filename.endswith(".npy")]
        return {m.name: m for m in (_member(path, archive, entry) for entry in entries)}


def load_npz(path: Path, wanted: Callable[[str], bool]) -> dict[str, Array]:
    """The wanted arrays of a .npz, whole. Raises BadInput when the file is no .npz or holds objects."""
    with readable(path), zipfile.ZipFile(path), np.load(path, allow_pickle=False) as arrays:
        return {name: np.asarray(arrays[name]) for name in arrays.files if wanted(name)}


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Whatever shows within that a file is damaged or of another kind becomes a BadInput."""
    try:
        yield
    except _UNREADABLE as error:
        raise BadInput(f"it cannot be read as {path.suffix or '.npz'} ({error})", where=str(path)) from error


def load_npy(path: Path) -> Array:
    """One .npy file, mapped. Raises BadInput when it is none."""
    with readable(path):
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


def _member(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Member:
    name = entry.filename.removesuffix(".npy")
    with archive.open(entry) as stream:
        shape, fortran, dtype = _header(stream)
    if dtype.hasobject:
        raise ValueError(f"array {name!r} holds Python objects")
    if not shape:
        raise ValueError(f"array {name!r} has no sample axis")
    if fortran:
        return Member(name, shape, dtype, lambda: iter(np.load(path, allow_pickle=False)[name]))
    return Member(name, shape, dtype, lambda: _streamed(path, entry, shape, dtype))


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    return tuple(shape), bool(fortran), np.dtype(dtype)


def _streamed(path: Path, entry: zipfile.ZipInfo, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[Array]:
    """Rows of a compressed array, one in memory at a time."""
    size = math.prod(shape[1:]) * dtype.itemsize
    with readable(path), zipfile.ZipFile(path) as archive, archive.open(entry) as stream:
        _header(stream)
        for _ in range(shape[0]):
            data = stream.read(size)
            if len(data) != size:
                raise BadInput("it ends early", where=f"{path}: array {entry.filename}")
            yield np.frombuffer(data, dtype).reshape(shape[1:])
