"""Read a model file: bytes to a ModelProto whose tensors, names and order are known to be sound.

Everything here is Python over protobuf, so that a damaged file meets no C++ parser of graphs before it is checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto

from effc.compiler import ir
from effc.core.errors import BadInput

RE_EXPORT = "export the model again, or fetch the file again if it was downloaded"
_PACKED_TYPES = {TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1, TensorProto.UINT2, TensorProto.INT2}
_FREE_WEIGHTS_IR = 4
_COMPLEX_TYPES = {TensorProto.COMPLEX64, TensorProto.COMPLEX128}


@dataclass(frozen=True)
class Raw:
    """A model as its file gives it, external data read in.

    Attributes:
        proto: the model; nodes named and in topological order.
        sha256: of the file and, after it, of each external file in the order of their names.
    """

    proto: onnx.ModelProto
    sha256: str


def read(path: Path) -> Raw:
    """Read and check a file. Raises BadInput naming the file and the node or tensor that is wrong."""
    data = _bytes(path)
    proto = _parse(data, path)
    digest = hashlib.sha256(data)
    for content in _load_external(proto, path):
        digest.update(content)
    for tensor in _tensors(proto):
        _check_tensor(tensor, path)
    _drop_listed_weights(proto)
    for function in proto.functions:
        _order(function, set(function.input), path)
    _order(proto.graph, _given(proto.graph), path)
    _name_nodes(proto.graph)
    _refuse_recursion(proto, path)
    return Raw(proto, digest.hexdigest())


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(error.strerror or str(error), where=str(path)) from None


def _parse(data: bytes, path: Path) -> onnx.ModelProto:
    try:
        proto = onnx.load_from_string(data)
    except (DecodeError, ValueError) as error:
        raise BadInput(f"not an ONNX model, or cut short ({error})", where=str(path), hint=RE_EXPORT) from None
    if not (proto.ir_version and proto.graph.output and proto.opset_import):
        missing = "a graph with outputs" if not proto.graph.output else "an IR version and an opset"
        raise BadInput(f"not an ONNX model, or cut short: it lacks {missing}", where=str(path), hint=RE_EXPORT)
    return proto


# external data


def _load_external(proto: onnx.ModelProto, path: Path) -> Iterator[bytes]:
    """Read external tensors into the proto; yields each external file's content once, by name."""
    files: dict[str, bytes] = {}
    for tensor in _tensors(proto):
        if tensor.data_location == TensorProto.EXTERNAL:
            entries = {e.key: e.value for e in tensor.external_data}
            location = entries.get("location", "")
            if location not in files:
                files[location] = _external_file(path, location, tensor.name)
            tensor.raw_data = _section(files[location], entries, tensor, path)
            tensor.ClearField("external_data")
            tensor.data_location = TensorProto.DEFAULT
    yield from (files[name] for name in sorted(files))


def _external_file(path: Path, location: str, tensor: str) -> bytes:
    folder = path.parent.resolve()
    where = f"{path}, tensor {tensor!r}"
    try:
        found = (folder / location).resolve()
        inside = bool(location) and found.is_relative_to(folder) and not Path(location).is_absolute()
        if not inside:
            raise BadInput(f"its data lies outside the model's folder: {location!r}", where=where)
        return found.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "put the data file beside the model"
        raise BadInput(f"its data file {location!r} cannot be read: {reason}", where=where, hint=hint) from None


def _section(content: bytes, entries: dict[str, str], tensor: TensorProto, path: Path) -> bytes:
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or len(content) - offset)
    except ValueError:
        offset, length = -1, -1
    if not 0 <= offset <= offset + length <= len(content):
        what = f"bytes {offset}..{offset + length} are not in its data file of {len(content)} bytes"
        raise BadInput(what, where=f"{path}, tensor {tensor.name!r}", hint=RE_EXPORT)
    return content[offset : offset + length]


# tensors


def _tensors(proto: onnx.ModelProto) -> Iterator[TensorProto]:
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterator[onnx.NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from ([attribute.t] if attribute.HasField("t") else [])
            yield from attribute.tensors
            for graph in _subgraphs(attribute):
                yield from _graph_tensors(graph)


def _subgraphs(attribute: onnx.AttributeProto) -> Iterator[onnx.GraphProto]:
    yield from ([attribute.g] if attribute.HasField("g") else [])
    yield from attribute.graphs


def _check_tensor(tensor: TensorProto, path: Path) -> None:
    where = f"{path}, tensor {tensor.name!r}"
    if tensor.data_type not in onnx.helper.get_all_tensor_dtypes() or any(d < 0 for d in tensor.dims):
        what = f"no such tensor: element type {tensor.data_type}, dims {list(tensor.dims)}"
        raise BadInput(what, where=where, hint=RE_EXPORT)
    have, need = _sizes(tensor)
    if have != need:
        what = f"dims {list(tensor.dims)} need {need} bytes or elements of data, it has {have}"
        raise BadInput(what, where=where, hint=RE_EXPORT)


def _sizes(tensor: TensorProto) -> tuple[int, int]:
    """(what it holds, what its dims need): bytes of raw data, or elements of the typed field."""
    elements = 1
    for dim in tensor.dims:
        elements *= dim
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data), -(-elements * ir.DataType(tensor.data_type).bitwidth // 8)
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
    names = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    return names | {s.values.name for s in graph.sparse_initializer}


def label(node: onnx.NodeProto) -> str:
    """How errors name a node: op and name, or the first output where it has none."""
    return f"{node.op_type} {node.name or next(iter(node.output), '')!r}"


def _order(graph: onnx.GraphProto | onnx.FunctionProto, given: set[str], path: Path) -> None:
    """Check that each name is produced once and before its use; sorts nodes that are merely out of order."""
    producers = _producers(graph, given, path)
    reads = [_reads(node) for node in graph.node]
    for node, names in zip(graph.node, reads, strict=True):
        for name in names - given - producers.keys():
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
    for attribute in node.attribute:
        for graph in _subgraphs(attribute):
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


def _refuse_recursion(proto: onnx.ModelProto, path: Path) -> None:
    names = {(f.domain, f.name) for f in proto.functions}
    calls = {(f.domain, f.name): {(n.domain, n.op_type) for n in f.node} & names for f in proto.functions}
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as error:
        chain = " -> ".join(f"{domain}.{name}" for domain, name in error.args[1])
        raise BadInput(f"model functions call each other without end: {chain}", where=str(path)) from None
