"""Weights where they lie: a tensor says file, offset and length in place of holding bytes, and is mapped, not read.

The reference is ONNX's own external data with an absolute location, which a file from outside may not have.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from effc.compiler import wire

SKIMMED_FROM = 16 << 20
"""Bytes of a model file from which on weights inside stay there; smaller files are read whole."""


class Place(NamedTuple):
    """Bytes of a file."""

    file: str
    offset: int
    length: int


class Files:
    """Files that are mapped when something in them is looked at, each once."""

    def __init__(self) -> None:
        self._maps: dict[str, NDArray[np.uint8]] = {}

    def view(self, place: Place) -> NDArray[np.uint8]:
        """The bytes, read-only, in the file's own pages. Raises OSError when the file is gone."""
        if place.file not in self._maps:
            self._maps[place.file] = np.frombuffer(content(Path(place.file)), np.uint8)
        return self._maps[place.file][place.offset : place.offset + place.length]


def content(path: Path) -> memoryview:
    """A file's bytes, mapped. Raises OSError."""
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")


def refer(tensor: TensorProto, place: Place) -> None:
    """Let a tensor say where its data lies."""
    tensor.ClearField("raw_data")
    tensor.ClearField("external_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", place.file), ("offset", place.offset), ("length", place.length)):
        tensor.external_data.add(key=key, value=str(value))


def place(tensor: TensorProto) -> Place | None:
    """Where its data lies, None where it holds it itself."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return None
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return Place(entries["location"], int(entries["offset"]), int(entries["length"]))


def parsed(data: memoryview, skimmed_from: int = SKIMMED_FROM) -> tuple[onnx.ModelProto, dict[int, wire.Section]]:
    """The model in a file's bytes, and where the raw data of its large initializers lies, by their number.

    Raises DecodeError or ValueError when it is no model.
    """
    skimmed, sections = wire.skim(data) if len(data) >= skimmed_from else (bytes(data), {})
    return onnx.load_from_string(skimmed), sections


def refer_all(proto: onnx.ModelProto, sections: dict[int, wire.Section], path: Path) -> None:
    """Let initializers say that their data lies in the sections of the model's file."""
    for number, section in sections.items():
        refer(proto.graph.initializer[number], Place(str(path.resolve()), *section))


def load(path: Path) -> onnx.ModelProto:
    """A model file that is known to be sound; weights stay where they lie, in it or beside it."""
    proto, sections = parsed(content(path))
    for tensor in proto.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            refer(tensor, _beside(tensor, path))
    refer_all(proto, sections, path)
    return proto


def _beside(tensor: TensorProto, path: Path) -> Place:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    file = path.resolve().parent / entries["location"]
    offset = int(entries.get("offset") or 0)
    return Place(str(file), offset, int(entries.get("length") or file.stat().st_size - offset))


def referred(tensors: Iterable[TensorProto]) -> int:
    """Bytes of the tensors that lie in files."""
    return sum(found.length for tensor in tensors if (found := place(tensor)) is not None)


def read_in(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model, changed in place: its initializers hold their data themselves."""
    files = Files()
    for tensor in proto.graph.initializer:
        if (found := place(tensor)) is not None:
            tensor.raw_data = files.view(found).tobytes()
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
    return proto
