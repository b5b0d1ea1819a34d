"""After an edit: topological order, unique names, shapes of new values, and the checker's consent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import onnx
from onnx_ir import SymbolicDim, serde

from effc.compiler import ir, upgrade, walk
from effc.compiler.apart import Apart
from effc.core.errors import BackendFailed, EffcError

_SMALL_BYTES = 1024
"""Weights up to this size stay in the skeleton: shape inference reads shapes, axes and pads from them."""


def settle(model: ir.Model, where: str) -> None:
    """Bring an edited model in order, in place.

    Weights are not serialized: the checker sees large ones as inputs, so the time goes with the number of nodes.
    Raises EffcError naming `where` when the model is cyclic or the checker or shape inference refuses it.
    """
    with _refusal(where):
        _tidy(model)
        proto = skeleton(model)
        onnx.checker.check_model(proto)
        _adopt(model.graph, upgrade.infer(proto).graph, _symbols(model.graph))


def infer_missing(model: ir.Model, where: str) -> None:
    """`settle` without the checker, and without inference where every type and shape is known already."""
    with _refusal(where):
        _tidy(model)
        symbols = _symbols(model.graph)
        if not all(_is_firm(v, symbols) for node in walk.everywhere(model.graph) for v in node.outputs if v.name):
            _adopt(model.graph, upgrade.infer(skeleton(model)).graph, symbols)


def has_gaps(graph: ir.Graph) -> bool:
    """Whether `complete` may be of use: a Shape is left, a rank is unknown, or an output's dim has no name."""
    if any(node.op_type == "Shape" or any(v.name and v.shape is None for v in node.outputs) for node in graph):
        return True
    return any("?" in (ir.shape(v) or ()) for v in graph.outputs)


def complete(model: ir.Model, child: Apart) -> bool:
    """Name open dims by symbolic inference, which runs in the child; whether any has got a name.

    It is a gain, no condition: where the child breaks the model stays as it is.
    """
    with _refusal("symbolic shapes"):
        _tidy(model)
        before = _shapes(model.graph)
        with suppress(BackendFailed):
            data: bytes = child.call(
                f"{upgrade.__name__}:{upgrade.completed.__name__}", skeleton(model).SerializeToString()
            )
            _adopt(model.graph, onnx.load_from_string(data).graph, _symbols(model.graph))
        return before != _shapes(model.graph)


def is_open(graph: ir.Graph) -> bool:
    """Whether a rank or a dim is unknown."""
    return any(dims is None or "?" in dims for dims in _shapes(graph))


def _shapes(graph: ir.Graph) -> list[tuple[int | str, ...] | None]:
    return [ir.shape(v) for node in graph for v in node.outputs if v.name]


@contextmanager
def _refusal(where: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise EffcError(f"left an invalid model: {upgrade.summary(error)}", where=where) from error


def _tidy(model: ir.Model) -> None:
    model.graph.sort()
    _unique_names(model.graph)


def skeleton(model: ir.Model) -> onnx.ModelProto:
    """The model as a proto in which large weights are inputs without data."""
    graph = onnx.GraphProto(name=model.graph.name or "graph")
    graph.input.extend(serde.serialize_value(v) for v in model.graph.inputs)
    for value in model.graph.initializers.values():
        if value.const_value is not None and value.const_value.nbytes <= _SMALL_BYTES:
            tensor = graph.initializer.add()
            serde.serialize_tensor_into(tensor, value.const_value)
            tensor.name = value.name or ""
        else:
            graph.input.append(serde.serialize_value(value))
    symbols = _symbols(model.graph)
    for node in model.graph:
        graph.node.append(serde.serialize_node(node))
        graph.value_info.extend(
            serde.serialize_value(v)
            for v in node.outputs
            if v.name and not v.is_graph_output() and _is_stated(v, symbols)
        )
    graph.output.extend(serde.serialize_value(v) for v in model.graph.outputs)
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    return onnx.ModelProto(ir_version=model.ir_version, opset_import=imports, graph=graph)


def _unique_names(graph: ir.Graph) -> None:
    """No two values of one name, those of branches and loop bodies included; no two nodes of one name."""
    seen = {v.name for v in (*graph.inputs, *graph.initializers.values(), *graph.outputs)}
    _name_nodes(graph, seen, frozenset(graph.outputs))
    for inner in walk.inner_graphs(graph):
        for value in (*inner.inputs, *list(inner.initializers.values())):
            if value.name in seen:
                value.name = _unused(value.name or "value", seen)
            seen.add(value.name)
        _name_nodes(inner, seen, frozenset())


def _name_nodes(graph: ir.Graph, seen: set[str | None], kept: frozenset[ir.Value]) -> None:
    names: set[str | None] = set()
    for node in graph:
        for value in node.outputs:
            if value.name != "" and value not in kept and (value.name is None or value.name in seen):
                value.name = _unused(value.name or f"{node.op_type}_output", seen)
            seen.add(value.name)
        if not node.name or node.name in names:
            node.name = _unused(node.name or f"{node.op_type}_{node.outputs[0].name}", names)
        names.add(node.name)


def _unused(stem: str, taken: set[str | None]) -> str:
    count, name = 0, stem
    while name in taken:
        count += 1
        name = f"{stem}_{count}"
    return name


def _symbols(graph: ir.Graph) -> set[int | str]:
    return {dim for value in graph.inputs for dim in ir.shape(value) or ()}


def _is_stated(value: ir.Value, symbols: set[int | str]) -> bool:
    """Whether inference is to take what the model says of the value: it is firm, or no inference could find it."""
    maker = value.producer()
    is_foreign = maker is not None and maker.domain not in ("", "ai.onnx") and value.type is not None
    return is_foreign or _is_firm(value, symbols)


def _is_firm(value: ir.Value, symbols: set[int | str]) -> bool:
    """Whether type and shape are known in numbers and the inputs' own symbols; all else is inferred again."""
    dims = ir.shape(value)
    return value.type is not None and dims is not None and all(isinstance(d, int) or d in symbols for d in dims)


def _adopt(graph: ir.Graph, inferred: onnx.GraphProto, symbols: set[int | str]) -> None:
    """Take inferred types, shapes and dims where they say more than the model does, also in branches and bodies."""
    found = {v.name: v for v in (*inferred.value_info, *inferred.output)}
    for node, proto in zip(graph, inferred.node, strict=True):
        for value in node.outputs:
            info = found.get(value.name or "")
            if info is None or _is_firm(value, symbols):
                continue
            if value.type is None:
                value.type = serde.deserialize_type_proto_for_type(info.type)
            shape = serde.deserialize_type_proto_for_shape(info.type)
            value.shape = value.shape if shape is None else _merged(value.shape, shape, symbols)
        inner = {a.name: a.g for a in proto.attribute if a.HasField("g")}
        for name, attribute in node.attributes.items():
            if name in inner:
                _adopt(attribute.as_graph(), inner[name], symbols)


def keep_names(graph: ir.Graph, stated: Mapping[str | None, ir.Shape | None]) -> None:
    """Let open dims of outputs have the names that `stated` gives them by the name of the output."""
    symbols = _symbols(graph)
    for value in graph.outputs:
        if value.shape is not None:
            value.shape = _merged(stated.get(value.name), value.shape, symbols)


def _merged(old: ir.Shape | None, new: ir.Shape, symbols: set[int | str]) -> ir.Shape:
    """The old shape, with the new dims where it leaves some open or they are numbers or symbols of an input."""
    if old is None or len(old) != len(new):
        return new
    dims = zip(old, new, strict=True)
    return ir.Shape([n if _says_more(o, n, symbols) else o for o, n in dims])


def _says_more(old: int | SymbolicDim, new: int | SymbolicDim, symbols: set[int | str]) -> bool:
    if isinstance(old, int) or isinstance(new, int):
        return isinstance(new, int)
    return old.value is None or new.value in symbols
