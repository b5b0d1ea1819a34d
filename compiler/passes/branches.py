"""Control flow that is known: If with a constant condition is its branch."""

from __future__ import annotations

from effc.compiler import ir
from effc.compiler.passes.rewrite import each, graph_of
from effc.compiler.phase import Step


def known_branch(node: ir.Node) -> bool:
    """If(true) is its then_branch, If(false) its else_branch, put in the node's place."""
    condition = ir.const(node.inputs[0])
    if condition is None or condition.size != 1:
        return False
    branch = node.attributes["then_branch" if condition.ravel()[0] else "else_branch"].as_graph()
    graph, outputs = graph_of(node), list(branch.outputs)
    branch.outputs.clear()
    _move_constants(branch, graph)
    inner = list(branch)
    branch.remove(inner)
    graph.insert_before(node, inner)
    for made in inner:
        for value in made.outputs:
            value.name = ir.fresh_name(graph, value.name or made.op_type)
    for old, new in zip(list(node.outputs), outputs, strict=True):
        _pass_on(node, old, new)
    for attribute in ("then_branch", "else_branch"):
        ir.empty(node.attributes[attribute].as_graph())
    ir.remove(graph, [node])
    return True


def _move_constants(branch: ir.Graph, graph: ir.Graph) -> None:
    for value in list(branch.initializers.values()):
        moved = ir.Value(
            name=ir.fresh_name(graph, value.name or "constant"),
            type=value.type,
            shape=value.shape,
            const_value=value.const_value,
        )
        graph.register_initializer(moved)
        ir.replace_uses(value, moved)


def _pass_on(node: ir.Node, old: ir.Value, new: ir.Value) -> None:
    """Let what the branch gives take an output's place; a graph output must be made by a node, and be no other."""
    if new.type is None:
        new.type = old.type
    if old.is_graph_output() and (new.producer() is None or new.is_graph_output() or new.graph is not node.graph):
        copy = ir.node("Identity", [new])
        graph_of(node).insert_before(node, copy)
        copy.outputs[0].name = ir.fresh_name(graph_of(node), f"{old.name}_branch")
        new = copy.outputs[0]
    ir.replace_uses(old, new)


STEPS = (Step("known branches", each(known_branch, "If")),)
