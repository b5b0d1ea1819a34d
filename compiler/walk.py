"""A graph with its branches and loop bodies, and its constants as they are stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx_ir

from effc.compiler import ir


def within(node: ir.Node) -> Iterator[ir.Graph]:
    """The node's branches and loop bodies."""
    for attribute in node.attributes.values():
        if attribute.type == onnx_ir.AttributeType.GRAPH:
            yield attribute.as_graph()


def everywhere(graph: ir.Graph) -> Iterator[ir.Node]:
    """The graph's nodes and those of its branches and loop bodies, outer ones first."""
    for node in graph:
        yield from with_inner(node)


def with_inner(node: ir.Node) -> Iterator[ir.Node]:
    """The node and those of its branches and loop bodies."""
    yield node
    for graph in within(node):
        yield from everywhere(graph)


def op_counts(model: ir.Model) -> dict[str, int]:
    """Nodes by op, those of branches and loop bodies included and Constant left out; names sorted."""
    counted = Counter(node.op_type for node in everywhere(model.graph) if node.op_type != "Constant")
    return dict(sorted(counted.items()))


def stored(value: ir.Value | None) -> onnx_ir.TensorProtocol | None:
    """The constant that the value is, its elements not read; None where it is computed or given."""
    return None if value is None or value.is_graph_input() else onnx_ir.convenience.get_const_tensor(value)
