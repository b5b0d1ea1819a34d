"""Read a model file: bytes to a ModelProto whose tensors, names and order are known to be sound.

Everything here is Python over protobuf, so that a damaged file meets no C++ parser of graphs before it is checked.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto

from effc.compiler import ir, mapped, sparse, wire
from effc.compiler.protos import everywhere, subgraphs
from effc.core.errors import BadInput

RE_EXPORT = "export the model again, or fetch the file again if it was downloaded"
_PACKED_TYPES = {TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1, TensorProto.UINT2, TensorProto.INT2}
_FREE_WEIGHTS_IR = 4
_MOST_INSIDE_NODES = 1 << 30
_MOST_DIMS = 64
_MOST_NODES = 1_000_000
_COMPLEX_TYPES = {TensorProto.COMPLEX64, TensorProto.COMPLEX128}


@dataclass(frozen=True)
class Raw:
    """A model as its file gives it.

    Attributes:
        proto: the model; nodes named and in topological order. Large initializers of a large file, and those beside
            the file, say where their data lies (`mapped.place`).
        sha256: of the file and, after it, of each external file in the order of their names.
        bytes: of these files together.
    """

    proto: onnx.ModelProto
    sha256: str
    bytes: int


def read(path: Path, skimmed_from: int = mapped.SKIMMED_FROM) -> Raw:
    """Read and check a file. Raises BadInput naming the file and the node or tensor that is wrong."""
    data = _content(path)
    proto, sections = _parse(data, path, skimmed_from)
    digest, size = hashlib.sha256(data), len(data)
    for content in _place_external(proto, path):
        digest.update(content)
        size += len(content)
    mapped.refer_all(proto, sections, path)
    for tensor in _tensors(proto):
        _check_tensor(tensor, path)
    sparse.densify(proto, path)
    _drop_listed_weights(proto)
    for function in proto.functions:
        _order(function, set(function.input), path)
    _order(proto.graph, _given(proto.graph), path)
    _name_nodes(proto.graph)
    _check_references(proto, path)
    _check_functions(proto, path)
    return Raw(proto, digest.hexdigest(), size)


def _content(path: Path) -> memoryview:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            hint = "write the model to a file first"
            raise BadInput("it is no regular file", where=str(path), hint=hint)  # to open a pipe may take forever
        return mapped.content(path)
    except (OSError, ValueError) as error:
        raise BadInput(getattr(error, "strerror", None) or str(error), where=str(path)) from None


def _parse(data: memoryview, path: Path, skimmed_from: int) -> tuple[onnx.ModelProto, dict[int, wire.Section]]:
    try:
        proto, sections = mapped.parsed(data, skimmed_from)
    except (DecodeError, ValueError) as error:
        raise BadInput(f"not an ONNX model, or cut short ({error})", where=str(path), hint=RE_EXPORT) from None
    if not (proto.ir_version and proto.graph.output and proto.opset_import):
        missing = "a graph with outputs" if not proto.graph.output else "an IR version and an opset"
        raise BadInput(f"not an ONNX model, or cut short: it lacks {missing}", where=str(path), hint=RE_EXPORT)
    opsets = {(entry.domain or "ai.onnx", entry.version) for entry in proto.opset_import}
    if proto.ir_version < 1 or len(dict(opsets)) < len(opsets):
        what = f"IR version {proto.ir_version}, opsets {sorted(opsets)}: there is no such model"
        raise BadInput(what, where=str(path), hint=RE_EXPORT)
    return proto, sections


# external data


class _Beside:
    """The files beside a model that hold tensors, each mapped once."""

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.parent.resolve()
        self.files: dict[str, memoryview] = {}

    def place(self, tensor: TensorProto) -> tuple[mapped.Place, memoryview]:
        """Where a tensor's data lies, and the data. Raises BadInput where that is not in the folder or the file."""
        entries = {e.key: e.value for e in tensor.external_data}
        location = entries.get("location", "")
        found = self._found(location, f"{self.path}, tensor {tensor.name!r}")
        content = self.files[location]
        offset, length = _section(len(content), entries, tensor, self.path)
        return mapped.Place(str(found), offset, length), content[offset : offset + length]

    def _found(self, location: str, where: str) -> Path:
        """The file, opened."""
        try:
            found = (self.folder / location).resolve()
            inside = bool(location) and found.is_relative_to(self.folder) and not Path(location).is_absolute()
            if not inside or (found.exists() and not found.is_file()):
                what = "its data is in no file" if inside else "its data lies outside the model's folder"
                raise BadInput(f"{what}: {location!r}", where=where)
            if location not in self.files:
                self.files[location] = mapped.content(found)
            return found
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            hint = "put the data file beside the model"
            raise BadInput(f"its data file {location!r} cannot be read: {reason}", where=where, hint=hint) from None


def _place_external(proto: onnx.ModelProto, path: Path) -> Iterator[memoryview]:
    """Let each large external initializer say where it lies, and read in the rest; yields the files, by name.

    Shape inference wants the values of small tensors, and nothing takes external ones inside nodes.
    """
    beside = _Beside(path)
    for tensor in proto.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            place, content = beside.place(tensor)
            if place.length > wire.LARGE:
                mapped.refer(tensor, place)
            else:
                _take_in(tensor, content)
    room = _MOST_INSIDE_NODES
    for tensor in _inner_tensors(proto):
        if tensor.data_location == TensorProto.EXTERNAL:
            place, content = beside.place(tensor)
            room -= place.length
            if room < 0:
                what = f"tensors inside nodes hold more than {_MOST_INSIDE_NODES >> 20} MiB"
                hint = "make them initializers of the graph"
                raise BadInput(what, where=f"{path}, tensor {tensor.name!r}", hint=hint)
            _take_in(tensor, content)
    yield from (beside.files[name] for name in sorted(beside.files))


def _take_in(tensor: TensorProto, content: memoryview) -> None:
    tensor.raw_data = bytes(content)
    tensor.ClearField("external_data")
    tensor.data_location = TensorProto.DEFAULT


def _section(size: int, entries: dict[str, str], tensor: TensorProto, path: Path) -> tuple[int, int]:
    """Offset and length in a file of `size` bytes."""
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or size - offset)
    except ValueError:
        offset, length = -1, -1
    if not 0 <= offset <= offset + length <= size:
        what = f"bytes {offset}..{offset + length} are not in its data file of {size} bytes"
        raise BadInput(what, where=f"{path}, tensor {tensor.name!r}", hint=RE_EXPORT)
    return offset, length


# tensors


def _tensors(proto: onnx.ModelProto) -> Iterator[TensorProto]:
    yield from proto.graph.initializer
    yield from _inner_tensors(proto)


def _inner_tensors(proto: onnx.ModelProto) -> Iterator[TensorProto]:
    """All but the graph's initializers."""
    yield from _sparse_tensors(proto.graph)
    yield from _node_tensors(proto.graph.node)
    for function in proto.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    yield from _sparse_tensors(graph)
    yield from _node_tensors(graph.node)


def _sparse_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    for tensor in graph.sparse_initializer:
        yield from (tensor.values, tensor.indices)


def _node_tensors(nodes: Iterator[onnx.NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from ([attribute.t] if attribute.HasField("t") else [])
            yield from attribute.tensors
        for graph in subgraphs(node):
            yield from _graph_tensors(graph)


def _check_tensor(tensor: TensorProto, path: Path) -> None:
    where = f"{path}, tensor {tensor.name!r}"
    if len(tensor.dims) > _MOST_DIMS:
        raise BadInput(f"it has {len(tensor.dims)} dims, more than {_MOST_DIMS}", where=where, hint=RE_EXPORT)
    if tensor.data_type not in onnx.helper.get_all_tensor_dtypes() or any(d < 0 for d in tensor.dims):
        what = f"no such tensor: element type {tensor.data_type}, dims {list(tensor.dims)}"
        raise BadInput(what, where=where, hint=RE_EXPORT)
    have, need = _sizes(tensor)
    if have != need:
        what = f"dims {list(tensor.dims)} need {need} bytes or elements of data, it has {have}"
        raise BadInput(what, where=where, hint=RE_EXPORT)


def _sizes(tensor: TensorProto) -> tuple[int, int]:
    """(what it holds, what its dims need): bytes of raw data, or elements of the typed field."""
    elements = math.prod(tensor.dims)
    place = mapped.place(tensor)
    is_raw = (place is not None or tensor.HasField("raw_data")) and tensor.data_type != TensorProto.STRING
    if is_raw:
        held = len(tensor.raw_data) if place is None else place.length
        return held, -(-elements * ir.DataType(tensor.data_type).bitwidth // 8)
    typed = getattr(tensor, onnx.helper.tensor_dtype_to_field(tensor.data_type))
    if tensor.data_type in _PACKED_TYPES:
        per_entry = 8 // ir.DataType(tensor.data_type).bitwidth
        return len(typed), -(-elements // per_entry)
    return len(typed), elements * (2 if tensor.data_type in _COMPLEX_TYPES else 1)


# names and order


def _drop_listed_weights(proto: onnx.ModelProto) -> None:
    """Before IR version 4 every initializer was listed as an input too; as inputs they could not be folded."""
    proto.ir_version = max(_FREE_WEIGHTS_IR, proto.ir_version)
    weights = {t.name for t in proto.graph.initializer}
    inputs = [v for v in proto.graph.input if v.name not in weights]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)


def _given(graph: onnx.GraphProto) -> set[str]:
    return {v.name for v in graph.input} | {t.name for t in graph.initializer}


def label(node: onnx.NodeProto) -> str:
    """How errors name a node: op and name, or the first output where it has none."""
    return f"{node.op_type} {node.name or next(iter(node.output), '')!r}"


def _order(graph: onnx.GraphProto | onnx.FunctionProto, given: set[str], path: Path) -> None:
    """Check that each name is produced once and before its use; sorts nodes that are merely out of order."""
    producers = _producers(graph, given, path)
    reads = [_reads(node) for node in graph.node]
    for node, names in zip(graph.node, reads, strict=True):
        for name in (n for n in names if n not in producers and n not in given):
            raise BadInput(f"it reads {name!r}, which nothing produces", where=f"{path}, node {label(node)}")
    outputs = [v if isinstance(v, str) else v.name for v in graph.output]
    for name in set(outputs) - given - producers.keys():
        raise BadInput(f"nothing produces the output {name!r}", where=str(path))
    edges = {index: [producers[n] for n in names if n in producers] for index, names in enumerate(reads)}
    if any(before >= after for after, sources in edges.items() for before in sources):
        _sort(graph, edges, path)


def _producers(graph: onnx.GraphProto | onnx.FunctionProto, given: set[str], path: Path) -> dict[str, int]:
    producers: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in producers or name in given:
                raise BadInput(f"{name!r} is produced twice", where=f"{path}, node {label(node)}")
            producers[name] = index
    return producers


def _reads(node: onnx.NodeProto) -> set[str]:
    """Names that a node takes from the graph around it, those its subgraphs capture included."""
    names = set(node.input)
    for graph in subgraphs(node):
        inner = _given(graph) | {name for each in graph.node for name in each.output}
        captured = {v.name for v in graph.output}.union(*(_reads(each) for each in graph.node))
        names |= captured - inner
    return names - {""}


def _sort(graph: onnx.GraphProto | onnx.FunctionProto, edges: dict[int, list[int]], path: Path) -> None:
    nodes = list(graph.node)
    try:
        order = list(TopologicalSorter(edges).static_order())
    except CycleError as error:
        cycle = " -> ".join(label(nodes[i]) for i in dict.fromkeys(error.args[1]))
        raise BadInput(f"the graph has a cycle: {cycle}", where=str(path), hint=RE_EXPORT) from None
    del graph.node[:]
    graph.node.extend(nodes[i] for i in order)


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node a name of its own, from its op and first output, so that errors can tell it."""
    taken = {node.name for node in graph.node}
    seen: set[str] = set()
    for node in graph.node:
        if not node.name or node.name in seen:
            stem = node.name or f"{node.op_type}_{next(iter(node.output), '')}"
            node.name = next(n for n in _numbered(stem) if n not in taken)
        seen.add(node.name)
        taken.add(node.name)


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    count = 0
    while True:
        count += 1
        yield f"{stem}_{count}"


# functions


def _check_functions(proto: onnx.ModelProto, path: Path) -> None:
    """Refuse functions that call each other without end, or that make too many nodes where they are called."""
    names = {(f.domain, f.name) for f in proto.functions}
    bodies = {(f.domain, f.name): [(n.domain, n.op_type) for n in everywhere(f.node)] for f in proto.functions}
    calls = {name: names.intersection(body) for name, body in bodies.items()}
    try:
        order = list(TopologicalSorter(calls).static_order())
    except CycleError as error:
        chain = " -> ".join(f"{domain}.{name}" for domain, name in error.args[1])
        raise BadInput(f"model functions call each other without end: {chain}", where=str(path)) from None
    sizes: dict[tuple[str, str], int] = {}
    for name in order:
        sizes[name] = sum(sizes.get(callee, 1) for callee in bodies[name])
    whole = sum(sizes.get((n.domain, n.op_type), 1) for n in everywhere(proto.graph.node))
    if whole > _MOST_NODES:
        raise BadInput(f"with its functions written out it has {whole} nodes, more than {_MOST_NODES}", where=str(path))


def _check_references(proto: onnx.ModelProto, path: Path) -> None:
    """Refuse attributes that stand for those of a function where there is none."""
    for node in everywhere(proto.graph.node):
        for attribute in node.attribute:
            if attribute.ref_attr_name:
                what = f"its attribute {attribute.name!r} refers to one of a function, and it is in none"
                raise BadInput(what, where=f"{path}, node {label(node)}", hint=RE_EXPORT)
