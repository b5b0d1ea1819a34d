"""Which nodes of constants fit into a budget of bytes when their results are stored in their stead."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from effc.compiler import ir

_NODE_BYTES = 32
"""The least that a node takes in a file beside its names."""
_TENSOR_BYTES = 12
"""The least that a constant takes in a file beside its name and elements."""
_SMALL_BYTES = 1024
"""Constants up to this size do not join the nodes that read them: all of a model may read the same number."""


def fitting(nodes: Sequence[ir.Node], room: int) -> list[ir.Node]:
    """Those of the nodes, in the given order, whose results take at most `room` bytes more than what they replace.

    Nodes that share tensors are taken together, the groups that save most first: three Slices of one weight free it
    only as a whole. A group that does not fit is taken node by node as far as it goes.

    Args:
        nodes: in graph order; they read constants and each other alone, and the size of their results is known.
    """
    taken: set[ir.Node] = set()
    groups = _groups(nodes)
    for group, growth in sorted(((g, _growth(g)) for g in groups), key=lambda pair: pair[1]):
        if growth <= room:
            taken.update(group)
            room -= growth
        else:
            room = _one_by_one(group, room, taken)
    return [node for node in nodes if node in taken]


def _one_by_one(group: Sequence[ir.Node], room: int, taken: set[ir.Node]) -> int:
    """Take nodes of which all inputs are there, as long as there is room; what is left of it."""
    for node in group:
        inner = [v.producer() for v in node.inputs if v is not None]
        alone = _bytes_of(node) - sum(
            bytes_of(v) or 0 for v in set(node.inputs) if v is not None and len(v.uses()) == 1
        )
        growth = alone - _written(node)
        if all(maker is None or maker in taken for maker in inner) and growth <= room:
            taken.add(node)
            room -= growth
    return room


def _bytes_of(node: ir.Node) -> int:
    return sum(bytes_of(v) or 0 for v in node.outputs)


def _groups(nodes: Sequence[ir.Node]) -> list[list[ir.Node]]:
    """The nodes by the large tensors that they share, each group in the given order."""
    parent = {node: node for node in nodes}
    seen: dict[ir.Value, ir.Node] = {}
    for node in nodes:
        for value in (*node.inputs, *node.outputs):
            if value is not None and (value.producer() in parent or (bytes_of(value) or 0) > _SMALL_BYTES):
                parent[_find(parent, seen.setdefault(value, node))] = _find(parent, node)
    groups: dict[ir.Node, list[ir.Node]] = defaultdict(list)
    for node in nodes:
        groups[_find(parent, node)].append(node)
    return list(groups.values())


def _find(parent: dict[ir.Node, ir.Node], node: ir.Node) -> ir.Node:
    while parent[node] is not node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def _growth(group: Sequence[ir.Node]) -> int:
    """Bytes of the results that others read, less those of the nodes and of the constants that only they read."""
    inside = set(group)
    made = {v for node in group for v in node.outputs if any(use.node not in inside for use in v.uses())}
    given = {v for node in group for v in node.inputs if v is not None and v.producer() not in inside}
    freed = {v for v in given if all(use.node in inside for use in v.uses()) and not v.is_graph_output()}
    size = sum(bytes_of(v) or 0 for v in made) - sum(bytes_of(v) or 0 for v in freed)
    unnamed = freed | {v for node in group for v in node.outputs if v not in made}
    names = sum(len(v.name or "") for v in unnamed) + _TENSOR_BYTES * (len(freed) - len(made))
    return size - names - sum(_written(node) for node in inside)


def _written(node: ir.Node) -> int:
    """About what a node takes in a file, without the name of what it makes, which a constant may take over."""
    names = (node.name, *(v.name for v in node.inputs if v is not None))
    return _NODE_BYTES + sum(len(name or "") for name in names)


def bytes_of(value: ir.Value) -> int | None:
    """Bytes that a value takes; None where type or shape is not known."""
    dims = ir.static_shape(value)
    if dims is None or value.dtype is None:
        return None
    bits = 64 if value.dtype == ir.DataType.STRING else max(8, value.dtype.bitwidth)
    return int(np.prod(dims, dtype=np.float64)) * bits // 8
