"""A model written to a file without a copy of its weights: protobuf's wire format, as far as that takes.

A message is its fields one after another, in any order; a field that is a message or bytes is a key, a length and the
content (Protocol Buffers, "Encoding"). So weights go from where they lie to the end of the graph in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import Message  # type: ignore[import-untyped]
from onnx_ir import Model, Tensor, serde

_DELIMITED = 2
"""The wire type of messages and bytes."""
_LARGE = 1024
"""Bytes up to which a weight is written with the rest."""


def write(model: Model, path: Path) -> None:
    """Write the model, weights inside. Equal models give equal bytes."""
    bare = model.clone()
    inner = {name: v.const_value for name, v in bare.graph.initializers.items() if not v.is_graph_input()}
    weights = {name: held for name, held in inner.items() if isinstance(held, Tensor) and held.nbytes > _LARGE}
    for name in weights:
        del bare.graph.initializers[name]
    whole = serde.serialize_model(bare)
    graph = _encoded(whole.graph)
    whole.ClearField("graph")
    heads = [(_head(name, tensor), tensor) for name, tensor in weights.items()]
    size = len(graph) + sum(len(head) + tensor.nbytes for head, tensor in heads)
    with path.open("wb") as stream:
        stream.write(_encoded(whole) + _field(onnx.ModelProto, "graph", size) + graph)
        for head, tensor in heads:
            stream.write(head)
            tensor.tofile(stream)


def _head(name: str, tensor: Tensor[Any]) -> bytes:
    """What stands before an initializer's bytes."""
    described = onnx.TensorProto(name=name, data_type=tensor.dtype.value, dims=tensor.shape.numpy())
    inner = _encoded(described) + _field(onnx.TensorProto, "raw_data", tensor.nbytes)
    return _field(onnx.GraphProto, "initializer", len(inner) + tensor.nbytes) + inner


def _field(message: type[Message], name: str, size: int) -> bytes:
    """Key and length of a field with `size` bytes of content."""
    return _varint(message.DESCRIPTOR.fields_by_name[name].number << 3 | _DELIMITED) + _varint(size)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth bit says that more follow."""
    count = max(1, -(-number.bit_length() // 7))
    return bytes(number >> 7 * i & 0x7F | (0x80 if i + 1 < count else 0) for i in range(count))


def _encoded(message: Message) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))
