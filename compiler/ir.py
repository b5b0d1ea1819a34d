"""The one door to `onnx_ir`: models, reading constants and attributes, and edits that stay safe.

`onnx_ir` takes about a second to import, so import this module only where a model is really touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import onnx_ir
from numpy.typing import NDArray
from onnx_ir import Attr, DataType, Graph, Model, Node, Shape, Value

from effc.compiler import stored
from effc.compiler.walk import within
from effc.core.errors import BadInput
from effc.core.manifest import TensorInfo

if TYPE_CHECKING:
    import onnx

__all__ = [
    "Attr",
    "DataType",
    "Graph",
    "Model",
    "Node",
    "Shape",
    "Value",
]

Array = NDArray[np.generic]
INTERNAL_OPSET = 21
INLINE_LIMIT = 1 << 31
RANGE_PROPERTY = "effc.range"
"""What a rewrite says in a value's metadata of the range that it will have (`calibration.collect`)."""
NO_RANGE = "none"
"""Said of a value that is to stay in floats whatever the precision."""

_TAKEN: WeakKeyDictionary[Graph, set[str | None]] = WeakKeyDictionary()
"""Names that a graph's values have or had: to look at all values for each new one would take quadratic time."""


def const(value: Value | None) -> Array | None:
    """The value as an array when it is an initializer or a Constant's output, else None."""
    if value is None or value.is_graph_input():
        return None
    if value.const_value is not None:
        return np.asarray(value.const_value.numpy())
    tensor = onnx_ir.convenience.get_const_tensor(value)
    return None if tensor is None else np.asarray(tensor.numpy())


def shape(value: Value | None) -> tuple[int | str, ...] | None:
    """Dims as integers or symbol names ("?" for an anonymous one); None where the rank is unknown."""
    if value is None or value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else (d.value or "?") for d in value.shape)


def rank(value: Value | None) -> int:
    """The number of dims; 0 also where it is not known."""
    return 0 if value is None or value.shape is None else len(value.shape)


def static_shape(value: Value | None) -> tuple[int, ...] | None:
    """The shape where every dim is an integer, else None."""
    dims = shape(value)
    return None if dims is None or not all(isinstance(d, int) for d in dims) else tuple(int(d) for d in dims)


def static_shape_from(value: Value | None, axis: int) -> tuple[int, ...] | None:
    """The dims from `axis` on where they are all integers, else None."""
    dims = (shape(value) or ())[axis:]
    return tuple(int(d) for d in dims) if dims and all(isinstance(d, int) for d in dims) else None


def retype(value: Value, dtype: DataType) -> None:
    """Give the value another element type; a clone of its model, which shares type objects, keeps the old one."""
    value.type = onnx_ir.TensorType(dtype)


def numpy_dtype(value: Value) -> np.dtype[np.generic] | None:
    """The value's element type as NumPy's, None where it is unknown."""
    return None if value.dtype is None else np.dtype(value.dtype.numpy())


def tensor_type(kind: DataType) -> onnx_ir.TensorType:
    """Of tensors with these elements."""
    return onnx_ir.TensorType(kind)


def info(value: Value) -> TensorInfo:
    """The value as a manifest states it; images of rank 4 are NCHW."""
    dims = shape(value) or ()
    return TensorInfo(value.name or "", str(numpy_dtype(value) or "float32"), dims, "NCHW" if len(dims) == 4 else "")


def infos(values: Iterable[Value]) -> tuple[TensorInfo, ...]:
    """`info` of each."""
    return tuple(info(value) for value in values)


def attr_int(node: Node, name: str, default: int) -> int:
    """An integer attribute or its default."""
    found = node.attributes.get(name)
    return default if found is None else found.as_int()


def attr_float(node: Node, name: str, default: float) -> float:
    """A float attribute or its default."""
    found = node.attributes.get(name)
    return default if found is None else found.as_float()


def attr_str(node: Node, name: str, default: str) -> str:
    """A string attribute or its default."""
    found = node.attributes.get(name)
    return default if found is None else found.as_string()


def attr_ints(node: Node, name: str, default: Sequence[int]) -> tuple[int, ...]:
    """An integer-list attribute or its default."""
    found = node.attributes.get(name)
    return tuple(default) if found is None else tuple(found.as_ints())


def fresh_name(graph: Graph, stem: str) -> str:
    """`stem` itself if no value of the graph has this name, else `stem_1`, `stem_2`, ..."""
    taken = _TAKEN.get(graph)
    if taken is None:
        taken = _TAKEN[graph] = set(_names(graph))
    candidate, count = stem, 0
    while candidate in taken:
        count += 1
        candidate = f"{stem}_{count}"
    taken.add(candidate)
    return candidate


def _names(graph: Graph) -> Iterator[str | None]:
    """Names that the graph's values have, and those in its branches and loop bodies, which must not hide them."""
    yield from (value.name for value in values(graph))
    for inner in (held for node in graph for held in within(node)):
        yield from _names(inner)
        yield from (value.name for node in inner for value in node.inputs if value is not None)


def values(graph: Graph) -> Iterator[Value]:
    """Every value of the graph: inputs, initializers, node outputs."""
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def initializer(graph: Graph, name: str, array: Array) -> Value:
    """Register a new initializer under `name` (made unique) and return its value; a splat stays one."""
    return _registered(graph, fresh_name(graph, name), array)


def frozen(graph: Graph, value: Value, array: Array) -> Value:
    """A new initializer that takes the name of a value, which gets another; uses are not changed."""
    name = value.name or "constant"
    value.name = fresh_name(graph, f"{name}__replaced")
    return _registered(graph, name, array)


def _registered(graph: Graph, name: str, array: Array) -> Value:
    held = array if is_splat(array) else np.asarray(stored.spilled(array), order="C")
    value = Value(
        name=name,
        type=onnx_ir.TensorType(DataType.from_numpy(array.dtype)),
        shape=Shape(array.shape),
        const_value=onnx_ir.tensor(held, name=name),
    )
    graph.register_initializer(value)
    return value


def splat(number: np.generic, dims: Sequence[int]) -> Array:
    """An array of one value that takes the memory of one element."""
    return np.broadcast_to(number, tuple(dims))


def is_splat(array: Array) -> bool:
    """Whether the array was made by `splat`, so that its first element tells all."""
    return array.size > 1 and not any(array.strides)


def distinct(array: Array) -> Array:
    """The array, or of a splat its first element alone, which holds the same values."""
    return array[(slice(1),) * array.ndim] if is_splat(array) else array


def replace_uses(old: Value, new: Value) -> None:
    """Let every consumer of `old`, and the graph output that it may be, take `new` instead.

    A graph output keeps its name: `new` takes it over from `old`.
    """
    if old.is_graph_output():
        old.name, new.name = f"{old.name}__replaced", old.name
        if new.shape is None:
            new.shape = old.shape
        if new.type is None:
            new.type = old.type
    onnx_ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)


def node(op: str, inputs: Sequence[Value | None], attributes: Mapping[str, object] | None = None) -> Node:
    """A node of the default domain with one output, in no graph yet."""
    return Node("", op, inputs, [_attribute(*item) for item in (attributes or {}).items()], num_outputs=1)


def _attribute(name: str, held: object) -> Attr:
    """An attribute from a Python value, the usual ones without `onnx_ir`'s search through all protocols."""
    if isinstance(held, Attr):
        return held
    if isinstance(held, int):
        return onnx_ir.AttrInt64(name, held)
    if isinstance(held, float):
        return onnx_ir.AttrFloat32(name, held)
    if isinstance(held, list | tuple) and held and all(isinstance(each, int) for each in held):
        return onnx_ir.AttrInt64s(name, held)
    return onnx_ir.convenience.convert_attributes({name: held})[0]  # type: ignore[dict-item]


def substitute(old: Node, new: Node) -> None:
    """Put `new` in the place of `old`: its first output computes the same and takes over name, type and uses.

    `new` takes the node's name as well. Raises ValueError when another output of `old` is still used.
    """
    graph, value, result = old.graph, old.outputs[0], new.outputs[0]
    if not isinstance(graph, Graph):
        raise ValueError(f"{old.name} is in no graph")
    graph.insert_before(old, new)
    name, result.shape, result.type = value.name, value.shape, value.type
    new.name, old.name = old.name, f"{old.name}__replaced"
    value.name = f"{name}__replaced"
    onnx_ir.convenience.replace_all_uses_with(value, result, replace_graph_outputs=True)
    result.name = name
    remove(graph, [old])


def remove(graph: Graph, nodes: Iterable[Node]) -> None:
    """Remove nodes; raises ValueError when an output is still used."""
    graph.remove(list(nodes), safe=True)


def prune(model: Model) -> bool:
    """Remove nodes and initializers that nothing needs, also in branches and loop bodies; whether any went."""
    return _prune(model.graph)


def _prune(graph: Graph) -> bool:
    inner = [_prune(held) for node in graph for held in within(node)]
    idle = [node for node in reversed(graph) if _is_idle(node)]
    unread = [name for name, value in graph.initializers.items() if not _is_needed(value)]
    for name in unread:
        del graph.initializers[name]
    return bool(idle or unread or any(inner))


def _is_idle(node: Node) -> bool:
    """Whether nothing needs any output of the node; it is removed then, so that what it alone needed is idle too."""
    if any(_is_needed(value) for value in node.outputs):
        return False
    assert node.graph is not None
    for graph in within(node):
        empty(graph)
    node.graph.remove(node, safe=True)
    return True


def empty(graph: Graph) -> None:
    """Take all out of a branch that is not needed any more, so that its nodes count no longer as readers."""
    graph.outputs.clear()
    for node in list(graph):
        for inner in within(node):
            empty(inner)
    graph.remove(list(graph), safe=True)


def _is_needed(value: Value) -> bool:
    return bool(value.uses()) or value.is_graph_output() or value.is_graph_input()


def prune_all(model: Model) -> bool:
    """`prune` in subgraphs as well; optional outputs that nothing needs, and opset imports, go too."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

    unused = RemoveUnusedNodesPass()(model).modified
    RemoveUnusedOpsetsPass()(model)
    return bool(unused)


def to_proto(model: Model) -> onnx.ModelProto:
    """The model as ModelProto, weights inside."""
    return onnx_ir.to_proto(model)


def from_proto(proto: onnx.ModelProto) -> Model:
    """The inverse of `to_proto`; weights stay in the proto's memory."""
    return onnx_ir.from_proto(proto)


def to_bytes(model: Model) -> bytes:
    """The model as serialized ModelProto, weights inside; deterministic."""
    return bytes(to_proto(model).SerializeToString(deterministic=True))


def from_bytes(data: bytes) -> Model:
    """The inverse of `to_bytes`."""
    import onnx

    return from_proto(onnx.load_from_string(data))


def weight_bytes(model: Model) -> int:
    """Bytes of all initializers."""
    return sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)


def save(model: Model, path: Path, inline_limit: int | None = None) -> None:
    """Write the model; weights go into the file, or into `<name>.data` beside it from 2 GiB (or the limit) on."""
    limit = INLINE_LIMIT - (1 << 24) if inline_limit is None else inline_limit
    (stored.write_beside if weight_bytes(model) >= limit else stored.write)(model, path)


def load(path: Path) -> Model:
    """The inverse of `save`; large weights are mapped, not read, and the file must not be written to meanwhile.

    Raises BadInput when the file is not there or is no model.
    """
    try:
        return stored.load(path)
    except Exception as error:
        raise BadInput(f"it cannot be read as an ONNX model: {error}", where=str(path)) from error


def digest(model: Model) -> str:
    """sha256 of the model's file: its content hash."""
    found = hashlib.sha256()
    for block in stored.blocks(model):
        found.update(block)
    return found.hexdigest()


def content_hash(value: Value) -> bytes:
    """A hash of a constant's bytes, which are not copied for it."""
    found = hashlib.blake2b()
    for block in stored.content(value.const_value) if value.const_value is not None else ():
        found.update(block)
    return found.digest()
