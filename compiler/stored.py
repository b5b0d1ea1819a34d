"""Models in files, weights never copied: written block by block, and mapped where they are read."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
import onnx_ir
from numpy.typing import NDArray
from onnx_ir import DataType, Model, TensorProtocol, serde

from effc.compiler import mapped, wire
from effc.compiler.mapped import Files, Place

_BLOCK = 64 << 20
"""Bytes that are copied at a time where an array's elements do not lie one after another."""
_SCRATCH_FROM = 16 << 20
"""Bytes of weights from which on a sketch has a file for those that lie in none."""
_SPILLED_FROM = 4 << 20
"""Bytes of an array from which on it goes to a file."""
_ALIGNED = 64
_PAGE = 4096


class Mapped(onnx_ir.Tensor[NDArray[Any]]):
    """A tensor whose bytes are those of a file."""

    __slots__ = ("place",)

    def __init__(self, array: NDArray[Any], dtype: DataType, *, name: str, place: Place) -> None:
        super().__init__(array, dtype, name=name)
        self.place = place


def held(proto: onnx.TensorProto, files: Files) -> TensorProtocol:
    """The tensor with its values laid out once: mapped if it lies in a file."""
    found = mapped.place(proto)
    if found is None:
        return _unpacked(serde.deserialize_tensor(proto))
    dtype, data = DataType(proto.data_type), files.view(found)
    if dtype.bitwidth < 8:
        return onnx_ir.PackedTensor(data, dtype, shape=list(proto.dims), name=proto.name)
    return Mapped(data.view(dtype.numpy()).reshape(proto.dims), dtype, name=proto.name, place=found)


def _unpacked(tensor: TensorProtocol) -> TensorProtocol:
    """A proto hands out another copy at each look."""
    if tensor.dtype == DataType.STRING:
        return tensor
    return onnx_ir.Tensor(tensor.numpy(), tensor.dtype, name=tensor.name, doc_string=tensor.doc_string)


def spilled(array: NDArray[Any]) -> NDArray[Any]:
    """A large array in a file of no name, which goes with it: what is made of mapped weights fills no memory either.

    Where there is no room for files memory has to do.
    """
    if array.nbytes < _SPILLED_FROM or _is_mapped(array):
        return array
    try:
        with tempfile.TemporaryFile(prefix="effc-weight-") as stream:
            for piece in _pieces(array):
                stream.write(piece)
            stream.flush()
            pages = mmap.mmap(stream.fileno(), array.nbytes)
    except OSError:
        return array
    return np.frombuffer(pages, np.uint8).view(array.dtype).reshape(array.shape)


def _is_mapped(array: NDArray[Any]) -> bool:
    """Whether the array's elements lie one after another in a file."""
    holder: object = array
    while isinstance(holder, np.ndarray):
        holder = holder.base
    holder = holder.obj if isinstance(holder, memoryview) else holder
    return isinstance(holder, mmap.mmap) and array.flags.c_contiguous


def load(path: Path) -> Model:
    """The model in a file; large weights are mapped. Raises whatever is wrong with it."""
    proto, files = mapped.load(path), Files()
    weights = {t.name: held(t, files) for t in proto.graph.initializer if mapped.place(t) is not None}
    model = onnx_ir.from_proto(proto)
    for name, tensor in weights.items():
        model.graph.initializers[name].const_value = tensor
    return model


def write(model: Model, path: Path) -> None:
    """Write the model, weights inside. Equal models give equal bytes."""
    with path.open("wb") as stream:
        for block in blocks(model):
            stream.write(block)


def write_beside(model: Model, path: Path) -> None:
    """Write the model, its weights in `<name>.data` in the same folder."""
    data = path.with_name(f"{path.name}.data")
    proto, weights = _parted(model)
    with data.open("wb") as stream:
        for name, tensor in weights.items():
            _append(proto, name, tensor, Place(data.name, *_put(stream, tensor)))
    path.write_bytes(wire.encoded(proto))


def sketch(model: Model, scratch: Path) -> onnx.ModelProto:
    """The model as a proto that says where mapped weights lie; where the others take much room, in the file `scratch`.

    It is for this machine, while these files last.
    """
    proto, weights = _parted(model)
    loose = {name: tensor for name, tensor in weights.items() if not isinstance(tensor, Mapped)}
    for name, tensor in weights.items():
        if isinstance(tensor, Mapped):
            _append(proto, name, tensor, tensor.place)
    if sum(tensor.nbytes for tensor in loose.values()) < _SCRATCH_FROM:
        for name, tensor in loose.items():
            proto.graph.initializer.append(_described(name, tensor))
            proto.graph.initializer[-1].raw_data = b"".join(content(tensor))
        return proto
    with scratch.open("wb") as stream:
        for name, tensor in loose.items():
            _append(proto, name, tensor, Place(str(scratch.resolve()), *_put(stream, tensor)))
    return proto


def referring(tensor: TensorProtocol) -> onnx.TensorProto:
    """The tensor as a proto that says where its data lies if it is mapped, and holds it otherwise."""
    if not isinstance(tensor, Mapped):
        return serde.serialize_tensor(tensor)
    proto = _described(tensor.name or "", tensor)
    mapped.refer(proto, tensor.place)
    return proto


def blocks(model: Model) -> Iterator[bytes | memoryview]:
    """The bytes of the model's file, one piece after another."""
    whole, weights = _parted(model)
    graph = wire.encoded(whole.graph)
    whole.ClearField("graph")
    heads = [_head(name, tensor) for name, tensor in weights.items()]
    size = len(graph) + sum(len(head) + tensor.nbytes for head, tensor in zip(heads, weights.values(), strict=True))
    yield wire.encoded(whole) + wire.key(onnx.ModelProto, "graph", size) + graph
    for head, tensor in zip(heads, weights.values(), strict=True):
        yield head
        yield from content(tensor)


def size(model: Model) -> int:
    """Bytes of the model's file, weights inside."""
    return sum(map(len, blocks(model)))


def content(tensor: TensorProtocol) -> Iterator[bytes | memoryview]:
    """The tensor's bytes, piece by piece."""
    if isinstance(tensor, onnx_ir.PackedTensor):
        return _pieces(tensor.numpy_packed())
    return _pieces(tensor.numpy()) if tensor.dtype.bitwidth >= 8 else iter([tensor.tobytes()])


def _parted(model: Model) -> tuple[onnx.ModelProto, Mapping[str, TensorProtocol]]:
    """The model without its large weights, and those by name."""
    bare = model.clone()
    inner = {name: v.const_value for name, v in bare.graph.initializers.items() if not v.is_graph_input()}
    weights = {name: tensor for name, tensor in inner.items() if tensor is not None and _is_large(tensor)}
    for name in weights:
        del bare.graph.initializers[name]
    return serde.serialize_model(bare), weights


def _is_large(tensor: TensorProtocol) -> bool:
    return tensor.dtype != DataType.STRING and tensor.nbytes > wire.LARGE


def _described(name: str, tensor: TensorProtocol) -> onnx.TensorProto:
    return onnx.TensorProto(name=name, data_type=tensor.dtype.value, dims=tensor.shape.numpy())


def _append(proto: onnx.ModelProto, name: str, tensor: TensorProtocol, place: Place) -> None:
    proto.graph.initializer.append(_described(name, tensor))
    mapped.refer(proto.graph.initializer[-1], place)


def _head(name: str, tensor: TensorProtocol) -> bytes:
    """What stands before an initializer's bytes."""
    inner = wire.encoded(_described(name, tensor)) + wire.key(onnx.TensorProto, "raw_data", tensor.nbytes)
    return wire.key(onnx.GraphProto, "initializer", len(inner) + tensor.nbytes) + inner


def _put(stream: BinaryIO, tensor: TensorProtocol) -> tuple[int, int]:
    """Write a tensor where readers may map it; its offset and length."""
    step = _PAGE if tensor.nbytes > 16 * _PAGE else _ALIGNED
    stream.write(bytes(-stream.tell() % step))
    offset = stream.tell()
    for block in content(tensor):
        stream.write(block)
    return offset, tensor.nbytes


def _pieces(array: NDArray[Any]) -> Iterator[memoryview]:
    """The elements in order: in place where they lie one after another, else a block at a time."""
    if array.flags.c_contiguous:
        yield array.reshape(-1).view(np.uint8).data
    elif array.nbytes <= _BLOCK:
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    elif len(array) == 1:
        yield from _pieces(array[0])
    else:
        half = len(array) // 2
        yield from _pieces(array[:half])
        yield from _pieces(array[half:])
