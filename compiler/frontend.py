"""ONNX file in, checked model at the internal opset out, with shapes inferred and symbols kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir

from effc.compiler import contradictions, inputs, ir, mapped, reader, stored, upgrade
from effc.compiler.apart import Apart
from effc.compiler.inputs import Dims
from effc.compiler.settle import settle
from effc.core.errors import BackendFailed, BadInput
from effc.core.manifest import Source

__all__ = ["Dims", "Loaded", "load", "settle"]

Opset = Callable[[int], int]
"""The opset to work at by the one that the file has."""
_SMALL_BYTES = 1024


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
        names: what the file calls dims whose names are no identifiers, by the identifiers that stand for them.
    """

    model: ir.Model
    source: Source
    original: onnx.ModelProto
    bytes: int
    names: Mapping[str, str]


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
    overridden = inputs.fix(proto.graph, shapes, path)
    names = inputs.name_open(proto.graph, path)
    declared = [onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in proto.graph.output]
    _forget_shapes(proto)
    model = _attach(_upgrade(proto, path, opset(source.opset), child, named), proto)
    _restore_outputs(model.graph, [] if overridden else declared, path)
    settle(model, where=str(path))
    contradictions.refuse(model, str(path))
    return Loaded(model, source, proto, raw.bytes, names)


def _forget_shapes(proto: onnx.ModelProto) -> None:
    """Drop what the file claims of inner and output dims: it may be stale, and everything is inferred anew.

    Inner claims stay where an op of a foreign domain keeps inference from going on.
    """
    for value in proto.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    known = {"", "ai.onnx"}.union(f.domain for f in proto.functions)
    if all(node.domain in known for node in proto.graph.node):
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
    describe(model, proto)
    attach(model, {t.name: stored.held(t, files) for t in proto.graph.initializer if _is_large(t)})
    order = {v.name: index for index, v in enumerate(proto.graph.input)}
    model.graph.inputs[:] = sorted(model.graph.inputs, key=lambda v: order.get(v.name or "", len(order)))
    return model


def describe(model: ir.Model, proto: onnx.ModelProto) -> None:
    """Give the model what its file says of it, apart from what it computes."""
    model.producer_name, model.producer_version = proto.producer_name, proto.producer_version
    model.domain, model.model_version, model.doc_string = proto.domain, proto.model_version, proto.doc_string
    model.metadata_props.update((entry.key, entry.value) for entry in proto.metadata_props)
    model.graph.doc_string = proto.graph.doc_string
    model.graph.metadata_props.update((entry.key, entry.value) for entry in proto.graph.metadata_props)


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
            what = f"its shape is declared {inputs.text(claimed)}, the graph computes {inputs.text(inferred)}"
            raise BadInput(what, where=f"{path}, output {value.name!r} of {_producer(value)}")
        value.shape = ir.Shape([_best(a, b) for a, b in zip(inferred, claimed, strict=True)])


def _best(inferred: int | str, claimed: int | str) -> int | str | None:
    """A number or plain symbol that was inferred, else what the file says, else the inferred expression."""
    if isinstance(inferred, int) or inputs.SYMBOL.fullmatch(inferred):
        return inferred
    if claimed != "?":
        return claimed
    return None if inferred == "?" else inferred


def _differ(a: int | str, b: int | str) -> bool:
    return isinstance(a, int) and isinstance(b, int) and a != b


def _producer(value: ir.Value) -> str:
    node = value.producer()
    return "the graph's input" if node is None else f"node {node.op_type} {node.name!r}"
