"""Control flow that is known: If with a constant condition is its branch, Loop that runs once or never its body."""

from __future__ import annotations

import numpy as np

from effc.compiler import ir
from effc.compiler.passes import shapes
from effc.compiler.passes.canonicalize import scalar_bool
from effc.compiler.passes.inline import inlined, stand_in
from effc.compiler.passes.rewrite import constant, each, graph_of, input_at
from effc.compiler.phase import Step


def known_branch(node: ir.Node) -> bool:
    """If(true) is its then_branch, If(false) its else_branch."""
    condition = scalar_bool(node.inputs[0])
    if condition is None:
        return False
    branch = node.attributes["then_branch" if condition else "else_branch"].as_graph()
    return stand_in(node, inlined(node, branch))


def idle_loop(node: ir.Node) -> bool:
    """Loop(0, ..) and Loop(.., false, ..) give the initial values; what they gather has no form without them."""
    initial = list(node.inputs[2:])
    if _turns(node) != 0 or len(initial) != len(node.outputs) or None in initial:
        return False
    return stand_in(node, [value for value in initial if value is not None])


def single_loop(node: ir.Node) -> bool:
    """Loop(1, true, ..) is its body, and so is one whose body ends it; what it gathers gets a first axis of 1."""
    if _turns(node) != 1 or None in node.inputs[2:]:
        return False
    body = node.attributes["body"].as_graph()
    turn, going = (constant(node, *named) for named in (("turn", np.array(0)), ("going", np.array(True))))
    _, *made = inlined(node, body, [turn, going, *(v for v in node.inputs[2:] if v is not None)])
    carried = len(node.inputs) - 2
    return stand_in(node, [*made[:carried], *(_gathered(node, value) for value in made[carried:])])


def _turns(node: ir.Node) -> int | None:
    """How often a Loop runs, where that is known to be once or never.

    Without a condition what its body says of going on counts for nothing.
    """
    limit, condition = (input_at(node, index) for index in (0, 1))
    most, going = ir.const(limit), scalar_bool(condition)
    if going is False or (most is not None and most.item() <= 0):
        return 0
    if condition is not None and going is None:
        return None
    ends = condition is not None and shapes.known(node.attributes["body"].as_graph().outputs[0]) == (0,)
    once = (most is not None and most.item() == 1) or (ends and (limit is None or most is not None))
    return 1 if once else None


def _gathered(node: ir.Node, value: ir.Value) -> ir.Value:
    """The value with a first axis of 1."""
    made = ir.node("Unsqueeze", [value, constant(node, "axis", np.zeros(1, np.int64))])
    graph_of(node).insert_before(node, made)
    made.outputs[0].name = ir.fresh_name(graph_of(node), f"{value.name}_gathered")
    made.outputs[0].type = value.type
    return made.outputs[0]


STEPS = (
    Step("known branches", each(known_branch, "If")),
    Step("loops that never run", each(idle_loop, "Loop")),
    Step("loops that run once", each(single_loop, "Loop")),
)
