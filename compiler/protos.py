"""Protos with their branches and loop bodies; `walk` is the same for the graphs that passes work on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The node's branches and loop bodies."""
    for attribute in node.attribute:
        if attribute.HasField("g"):  # not its type, which a damaged file may have wrong
            yield attribute.g
        yield from attribute.graphs


def everywhere(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes, those of branches and loop bodies after the node that holds them."""
    for node in nodes:
        yield node
        for graph in subgraphs(node):
            yield from everywhere(graph.node)


def of_model(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of functions included."""
    for part in (model.graph, *model.functions):
        yield from everywhere(part.node)
