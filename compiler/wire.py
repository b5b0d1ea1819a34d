"""Protobuf's wire format, as far as weights need it to be read and written without a copy.

A message is its fields one after another, in any order; a field that is a message or bytes is a key, a length and the
content (Protocol Buffers, "Encoding").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import onnx
from google.protobuf.message import Message  # type: ignore[import-untyped]

LARGE = 1024
"""Bytes up to which a weight is read and written with the rest."""
_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5
"""Wire types; delimited are messages, bytes and strings."""
_LONGEST_VARINT = 10


class Field(NamedTuple):
    """Where a field lies: its key at `start`, its content from `body` to `end`."""

    number: int
    kind: int
    start: int
    body: int
    end: int


class Section(NamedTuple):
    """Where the raw data of an initializer lies in the model file, in bytes."""

    offset: int
    length: int


def skim(data: memoryview) -> tuple[bytes, dict[int, Section]]:
    """The encoded model without the raw data of its large initializers, and where those lie.

    The sections' keys are the initializers' places in the graph's list. Raises ValueError when the data is malformed.
    """
    pieces: list[bytes | memoryview] = []
    sections: dict[int, Section] = {}
    count = 0
    for field in fields(data, 0, len(data)):
        if field.number == _number_of(onnx.ModelProto, "graph") and field.kind == _DELIMITED:
            graph, count = _skim_graph(data, field, sections, count)
            pieces += [key(onnx.ModelProto, "graph", len(graph)), graph]
        else:
            pieces.append(data[field.start : field.end])
    return b"".join(pieces), sections


def _skim_graph(data: memoryview, graph: Field, sections: dict[int, Section], count: int) -> tuple[bytes, int]:
    """The graph without raw data; `count` initializers came before it."""
    pieces: list[bytes | memoryview] = []
    initializer = _number_of(onnx.GraphProto, "initializer")
    kept = graph.body
    for field in fields(data, graph.body, graph.end):
        if field.number != initializer or field.kind != _DELIMITED:
            continue
        raw = _raw_data(data, field) if field.end - field.body > LARGE else None
        if raw is not None:
            sections[count] = Section(raw.body, raw.end - raw.body)
            size = raw.start - field.body + field.end - raw.end
            head = key(onnx.GraphProto, "initializer", size)
            pieces += [data[kept : field.start], head, data[field.body : raw.start], data[raw.end : field.end]]
            kept = field.end
        count += 1
    return b"".join([*pieces, data[kept : graph.end]]), count


def _raw_data(data: memoryview, tensor: Field) -> Field | None:
    """A tensor's one large field of raw data, if it has one and does not point elsewhere besides."""
    found = list(fields(data, tensor.body, tensor.end))
    elsewhere = {_number_of(onnx.TensorProto, name) for name in ("external_data", "data_location")}
    raw = [f for f in found if f.number == _number_of(onnx.TensorProto, "raw_data")]
    alone = len(raw) == 1 and not any(f.number in elsewhere for f in found)
    return raw[0] if alone and raw[0].kind == _DELIMITED and raw[0].end - raw[0].body > LARGE else None


def fields(data: memoryview, start: int, end: int) -> Iterator[Field]:
    """The fields of a message that lies between `start` and `end`. Raises ValueError when it is malformed."""
    while start < end:
        head, body = _read_varint(data, start, end)
        kind = head & 7
        if kind == _DELIMITED:
            size, body = _read_varint(data, body, end)
            stop = body + size
        elif kind == _VARINT:
            stop = _read_varint(data, body, end)[1]
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            stop = body + (8 if kind == _EIGHT_BYTES else 4)
        else:
            raise ValueError(f"wire type {kind}")
        if stop > end:
            raise ValueError("a field reaches beyond its message")
        yield Field(head >> 3, kind, start, body, stop)
        start = stop


def _read_varint(data: memoryview, start: int, end: int) -> tuple[int, int]:
    """The number at `start`, and where it ends."""
    number = 0
    for place in range(start, min(end, start + _LONGEST_VARINT)):
        byte = data[place]
        number |= (byte & 0x7F) << 7 * (place - start)
        if byte < 0x80:
            return number, place + 1
    raise ValueError("a number without end")


def key(message: type[Message], name: str, size: int) -> bytes:
    """Key and length of a field with `size` bytes of content."""
    return varint(_number_of(message, name) << 3 | _DELIMITED) + varint(size)


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth bit says that more follow."""
    count = max(1, -(-number.bit_length() // 7))
    return bytes(number >> 7 * i & 0x7F | (0x80 if i + 1 < count else 0) for i in range(count))


def encoded(message: Message) -> bytes:
    """The message's bytes, the same ones for equal messages."""
    return bytes(message.SerializeToString(deterministic=True))


def _number_of(message: type[Message], name: str) -> int:
    return int(message.DESCRIPTOR.fields_by_name[name].number)
