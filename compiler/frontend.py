"""ONNX file in, checked model at the internal opset out, with shapes inferred and symbols kept."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir

from effc.compiler import contradictions, ir, mapped, reader, stored, upgrade
from effc.compiler.apart import Apart
from effc.compiler.settle import settle
from effc.core.errors import BackendFailed, BadInput
from effc.core.manifest import Source

__all__ = ["Dims", "Loaded", "load", "settle"]

Dims = tuple[int | str, ...]
Opset = Callable[[int], int]
"""The opset to work at by the one that the file has."""
_SMALL_BYTES = 1024
_SYMBOL = re.compile(r"[A-Za-z_][\w.]*")


def internal(given: int) -> int:
    """The opset that builds work at, whatever the file has."""
    del given
    return ir.INTERNAL_OPSET


@dataclass(frozen=True)
class Loaded:
    """A model ready for passes.

    Attributes:
        model: at the opset that was asked for, functions inlined, shapes inferred.
        source: what it was read from; `opset` as the file gives it.
        original: the graph as the file gives it, with `shapes` applied: what proofs compare with.
        bytes: of the file and its external data.
    """

    model: ir.Model
    source: Source
    original: onnx.ModelProto
    bytes: int


def load(
    path: Path,
    shapes: Mapping[str, Dims] | None = None,
    opset: Opset = internal,
    child: Apart | None = None,
    named: bool = True,
) -> Loaded:
    """Read, check and normalize a model.

    Args:
        path: the .onnx file; external data must lie in its folder.
        shapes: input name to dims (positive integers or symbol names) that fix or override the file's.
        opset: the one to work at, of the file's own.
        child: where the ONNX libraries run; one of its own without it.
        named: whether dims that follow from symbols get names now, which costs time; `settle.complete` does it later.

    Raises BadInput, naming file and node or tensor, for whatever is wrong with the file or `shapes`.
    """
    with nullcontext(child) if child is not None else Apart() as libraries:
        return _load(path, shapes or {}, opset, libraries, named)


def _load(path: Path, shapes: Mapping[str, Dims], opset: Opset, child: Apart, named: bool) -> Loaded:
    raw = reader.read(path)
    proto = raw.proto
    source = Source(path.name, raw.sha256, upgrade.default_opset(proto))
    overridden = _apply_shapes(proto.graph, shapes, path)
    _name_dims(proto.graph, path)
    declared = [onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in proto.graph.output]
    _forget_shapes(proto)
    model = _attach(_upgrade(proto, path, opset(source.opset), child, named), proto)
    _restore_outputs(model.graph, [] if overridden else declared, path)
    settle(model, where=str(path))
    contradictions.refuse(model, str(path))
    return Loaded(model, source, proto, raw.bytes)


# input dims


def _apply_shapes(graph: onnx.GraphProto, shapes: Mapping[str, Dims], path: Path) -> bool:
    """Write the wanted dims into the inputs; whether a number was replaced by something else."""
    inputs = {v.name: v for v in graph.input}
    replaced = False
    for name, dims in shapes.items():
        where = f"{path}, input {name!r}"
        if name not in inputs:
            raise BadInput("the model has no such input", where=where, hint=f"its inputs: {', '.join(inputs)}")
        tensor = inputs[name].type.tensor_type
        if tensor.HasField("shape") and len(tensor.shape.dim) != len(dims):
            raise BadInput(f"{_text(dims)} has {len(dims)} dims, the input {len(tensor.shape.dim)}", where=where)
        if any(d < 1 if isinstance(d, int) else not _SYMBOL.fullmatch(d) for d in dims):
            raise BadInput(f"{_text(dims)}: dims are positive numbers or names", where=where)
        old = [d.dim_value for d in tensor.shape.dim if d.dim_value > 0]
        replaced |= old != [d for d in dims if isinstance(d, int)][: len(old)]
        inputs[name].type.CopyFrom(onnx.helper.make_tensor_type_proto(tensor.elem_type, list(dims)))
    return replaced


def _name_dims(graph: onnx.GraphProto, path: Path) -> None:
    """Dims that are open (-1, 0, "?", unnamed) become symbols `<input>_<axis>`, others plain identifiers."""
    for value in graph.input:
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            where = f"{path}, input {value.name!r}"
            raise BadInput("the model does not say its shape", where=where, hint=f"--shape {value.name}:1x3x224x224")
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param and dim.dim_param != "?":
                dim.dim_param = _identifier(dim.dim_param)
            elif dim.dim_value <= 0:
                dim.dim_param = _identifier(f"{value.name}_{axis}")


def _identifier(name: str) -> str:
    return name if _SYMBOL.fullmatch(name) else "_" + re.sub(r"\W", "_", name)


def _forget_shapes(proto: onnx.ModelProto) -> None:
    """Drop what the file claims of inner and output dims: it may be stale, and everything is inferred anew.

    Inner claims stay where an op of a foreign domain keeps inference from going on.
    """
    for value in proto.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    functions = {f.domain for f in proto.functions}
    if all(n.domain in {"", "ai.onnx"} | functions for n in proto.graph.node):
        del proto.graph.value_info[:]


# opset and shapes, in a child


def _upgrade(proto: onnx.ModelProto, path: Path, opset: int, child: Apart, named: bool) -> onnx.ModelProto:
    data = _without_weights(proto).SerializeToString()
    try:
        result: bytes = child.call(f"{upgrade.__name__}:upgrade", data, opset, named)
    except BackendFailed as error:
        what = f"the ONNX libraries cannot take this model: {error.what}"
        raise BadInput(what, where=str(path), hint=reader.RE_EXPORT) from error
    except BadInput as error:
        raise BadInput(error.what, where=str(path), hint=error.hint or reader.RE_EXPORT) from error
    return onnx.load_from_string(result)


def _without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which large weights are inputs without data."""
    old = proto.graph
    graph = onnx.GraphProto(name=old.name or "graph", node=old.node, input=old.input, output=old.output)
    graph.value_info.extend(old.value_info)
    graph.sparse_initializer.extend(old.sparse_initializer)
    for tensor in old.initializer:
        if _is_large(tensor):
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        else:
            graph.initializer.append(tensor)
    return onnx.ModelProto(
        ir_version=proto.ir_version, opset_import=proto.opset_import, functions=proto.functions, graph=graph
    )


def _is_large(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type == onnx.TensorProto.STRING:
        return int(tensor.ByteSize()) > _SMALL_BYTES
    return bool(math.prod(tensor.dims) * ir.DataType(tensor.data_type).bitwidth > 8 * _SMALL_BYTES)


def _attach(converted: onnx.ModelProto, proto: onnx.ModelProto) -> ir.Model:
    """Put the weights back in the place of the inputs that stood for them."""
    files = mapped.Files()
    model = ir.from_proto(converted)
    attach(model, {t.name: stored.held(t, files) for t in proto.graph.initializer if _is_large(t)})
    order = {v.name: index for index, v in enumerate(proto.graph.input)}
    model.graph.inputs[:] = sorted(model.graph.inputs, key=lambda v: order.get(v.name or "", len(order)))
    return model


def attach(model: ir.Model, weights: Mapping[str, onnx_ir.TensorProtocol]) -> None:
    """Let inputs that stand for weights be initializers that hold them; names without an input are left out."""
    stands = [v for v in model.graph.inputs if v.name in weights]
    model.graph.inputs[:] = [v for v in model.graph.inputs if v.name not in weights]
    for value in stands:
        value.const_value = weights[value.name or ""]
        model.graph.register_initializer(value)


def _restore_outputs(graph: ir.Graph, declared: list[onnx.ValueInfoProto], path: Path) -> None:
    """Check the declared output shapes against the inferred ones, and take dims that inference could not tell."""
    for value, info in zip(graph.outputs, declared, strict=False):
        tensor = info.type.tensor_type
        if not tensor.HasField("shape"):
            continue
        claimed = tuple(d.dim_value if d.dim_value > 0 else (d.dim_param or "?") for d in tensor.shape.dim)
        inferred = ir.shape(value) or claimed
        if len(inferred) != len(claimed) or any(_differ(a, b) for a, b in zip(inferred, claimed, strict=True)):
            what = f"its shape is declared {_text(claimed)}, the graph computes {_text(inferred)}"
            raise BadInput(what, where=f"{path}, output {value.name!r} of {_producer(value)}")
        value.shape = ir.Shape([_best(a, b) for a, b in zip(inferred, claimed, strict=True)])


def _best(inferred: int | str, claimed: int | str) -> int | str | None:
    """A number or plain symbol that was inferred, else what the file says, else the inferred expression."""
    if isinstance(inferred, int) or _SYMBOL.fullmatch(inferred):
        return inferred
    if claimed != "?":
        return claimed if isinstance(claimed, int) else _identifier(claimed)
    return None if inferred == "?" else inferred


def _differ(a: int | str, b: int | str) -> bool:
    return isinstance(a, int) and isinstance(b, int) and a != b


def _producer(value: ir.Value) -> str:
    node = value.producer()
    return "the graph's input" if node is None else f"node {node.op_type} {node.name!r}"


def _text(dims: Dims) -> str:
    return "x".join(str(d) for d in dims)
