"""What a branch or a loop body computes, put in the place of the node that holds it."""

from __future__ import annotations

from collections.abc import Sequence

from effc.compiler import ir, walk
from effc.compiler.passes.rewrite import graph_of


def inlined(node: ir.Node, held: ir.Graph, given: Sequence[ir.Value] = ()) -> list[ir.Value]:
    """Move what the graph holds in front of the node; its outputs there.

    Args:
        given: what the graph's inputs are.
    """
    graph, outputs = graph_of(node), list(held.outputs)
    held.outputs.clear()
    moved = dict(zip(held.inputs, given, strict=True)) | _moved_constants(held, graph)
    for old, new in moved.items():
        ir.replace_uses(old, new)
    inner = list(held)
    held.remove(inner)
    graph.insert_before(node, inner)
    for value in (value for made in inner for value in made.outputs):
        value.name = ir.fresh_name(graph, value.name or "inner")
    return [moved.get(value, value) for value in outputs]


def _moved_constants(held: ir.Graph, graph: ir.Graph) -> dict[ir.Value, ir.Value]:
    """For each initializer the one that takes its place outside."""
    moved = {}
    for value in list(held.initializers.values()):
        name = ir.fresh_name(graph, value.name or "constant")
        moved[value] = ir.Value(name=name, type=value.type, shape=value.shape, const_value=value.const_value)
        graph.register_initializer(moved[value])
    return moved


def stand_in(node: ir.Node, values: Sequence[ir.Value]) -> bool:
    """Let values, which equal the node's outputs, take their places; the node goes with all that it holds."""
    for old, new in zip(list(node.outputs), values, strict=True):
        _pass_on(node, old, new)
    for held in walk.within(node):
        ir.empty(held)
    ir.remove(graph_of(node), [node])
    return True


def _pass_on(node: ir.Node, old: ir.Value, new: ir.Value) -> None:
    """Let a value take an output's place; a graph output must be made by a node, and be no other."""
    if new.type is None:
        new.type = old.type
    if old.is_graph_output() and (new.producer() is None or new.is_graph_output() or new.graph is not node.graph):
        copy = ir.node("Identity", [new])
        graph_of(node).insert_before(node, copy)
        copy.outputs[0].name = ir.fresh_name(graph_of(node), f"{old.name}_copy")
        new = copy.outputs[0]
    ir.replace_uses(old, new)
