"""A graph with its branches and loop bodies, and its constants as they are stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import onnx_ir

if TYPE_CHECKING:
    import onnx

    from effc.compiler import ir

_HOLDERS = frozenset({"If", "Loop", "Scan", "SequenceMap"})
"""The standard ops that hold graphs: most nodes are not worth a look at their attributes."""


def within(node: ir.Node) -> Sequence[ir.Graph]:
    """The node's branches and loop bodies."""
    if node.op_type not in _HOLDERS and not node.domain:
        return ()
    return [a.as_graph() for a in node.attributes.values() if a.type == onnx_ir.AttributeType.GRAPH]


def everywhere(graph: ir.Graph) -> Iterator[ir.Node]:
    """The graph's nodes, those of branches and loop bodies after the node that holds them."""
    for node in graph:
        yield node
        if node.op_type in _HOLDERS or node.domain:  # to call `within` for each node takes longer than the walk
            for inner in within(node):
                yield from everywhere(inner)


def with_inner(node: ir.Node) -> Iterator[ir.Node]:
    """The node and those of its branches and loop bodies."""
    yield node
    for graph in within(node):
        yield from everywhere(graph)


def inner_graphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    """All branches and loop bodies, outer ones first."""
    for node in everywhere(graph):
        yield from within(node)


def op_counts(nodes: Iterable[ir.Node | onnx.NodeProto]) -> dict[str, int]:
    """Nodes by op, Constant left out; names sorted."""
    return dict(sorted(Counter(node.op_type for node in nodes if node.op_type != "Constant").items()))


def stored(value: ir.Value | None) -> onnx_ir.TensorProtocol | None:
    """The constant that the value is, its elements not read; None where it is computed or given."""
    return None if value is None or value.is_graph_input() else onnx_ir.convenience.get_const_tensor(value)
