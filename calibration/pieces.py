"""Pieces: a model cut behind given nodes, each piece run once, so that its tensors may be changed on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir
from numpy.typing import NDArray

from effc.compiler import ir
from effc.compiler.oracle import Session

Array = NDArray[np.generic]
Singles = NDArray[np.float32]
Feeds = dict[str, Array]


@dataclass(frozen=True)
class _Piece:
    """A run of nodes: the tensors that it takes, and those that later pieces need, its last output among them."""

    inputs: tuple[str, ...]
    output: str
    kept: frozenset[str]
    model: onnx.ModelProto


def walk(model: ir.Model, nodes: Sequence[str], feeds: Sequence[Feeds]) -> Iterator[list[Singles]]:
    """Run the model up to each of `nodes` in turn and yield that node's first output on every feed.

    What the caller writes into these arrays is what the rest of the model sees. All pieces together cost one
    inference; only tensors that are still needed are held.

    Args:
        nodes: node names in graph order.
    """
    states = [dict(each) for each in feeds]
    for piece in _cut(model, set(nodes)):
        session = Session(piece.model)
        for state in states:
            made = session.run({name: state[name] for name in piece.inputs})
            state.update(made | {piece.output: np.array(made[piece.output], np.float32)})
            for name in set(state) - piece.kept:
                del state[name]
        yield [state[piece.output] for state in states]  # type: ignore[misc]


def _cut(model: ir.Model, names: set[str]) -> Iterator[_Piece]:
    nodes, proto = list(model.graph), ir.to_proto(model)
    last_use = {v: i for i, node in enumerate(nodes) for v in _taken(node)}
    start, alive = 0, list(model.graph.inputs)
    for cut in (i for i, node in enumerate(nodes) if node.name in names):
        part = nodes[start : cut + 1]
        output = part[-1].outputs[0]
        needed = {v for node in part for v in _taken(node)}
        taken = [v for v in alive if v in needed]
        made = [v for node in part for v in node.outputs if last_use.get(v, -1) > cut or v is output]
        alive = [v for v in alive if last_use.get(v, -1) > cut] + made
        piece = _submodel(proto, range(start, cut + 1), taken, made)
        yield _Piece(tuple(map(_name, taken)), _name(output), frozenset(map(_name, alive)), piece)
        start = cut + 1


def _taken(node: ir.Node) -> Iterator[ir.Value]:
    """The node's inputs, and what its subgraphs take from outside."""
    yield from (v for v in node.inputs if v is not None)
    for attribute in node.attributes.values():
        if attribute.type == onnx_ir.AttributeType.GRAPH:
            for inner in attribute.as_graph():
                yield from _taken(inner)


def _submodel(
    proto: onnx.ModelProto, span: range, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]
) -> onnx.ModelProto:
    """The nodes of `span` as a model of their own."""
    nodes = [proto.graph.node[i] for i in span]
    used = {name for node in nodes for name in _taken_names(node)}
    held = [t for t in proto.graph.initializer if t.name in used]
    graph = onnx.helper.make_graph(nodes, "piece", [_info(v) for v in inputs], [_info(v) for v in outputs], held)
    return onnx.helper.make_model(graph, opset_imports=proto.opset_import, ir_version=proto.ir_version)


def _taken_names(node: onnx.NodeProto) -> Iterator[str]:
    yield from node.input
    for inner in (inner for attribute in node.attribute for inner in attribute.g.node):
        yield from _taken_names(inner)


def _info(value: ir.Value) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(_name(value), int(value.dtype or ir.DataType.FLOAT), None)


def _name(value: ir.Value) -> str:
    return value.name or ""
