"""Edits for rules that write one node as several: nodes and constants made in front of it."""

from __future__ import annotations

import numpy as np

from effc.compiler import ir
from effc.compiler.passes.rewrite import graph_of


class Before:
    """Makes nodes and constants in front of one node, and lets a value that equals its output take its place."""

    def __init__(self, node: ir.Node) -> None:
        self.graph, self.node = graph_of(node), node
        self._stem = node.outputs[0].name or node.op_type

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: object) -> ir.Value:
        """A new node's output, of its first input's element type; its shape comes with the next inference."""
        made = ir.node(op_type, list(inputs), attributes)
        name = ir.fresh_name(self.graph, f"{self._stem}/{op_type}")
        made.name = made.outputs[0].name = name
        made.outputs[0].type = inputs[0].type if inputs and inputs[0] is not None else None
        self.graph.insert_before(self.node, made)
        return made.outputs[0]

    def const(self, name: str, array: ir.Array) -> ir.Value:
        """A new initializer."""
        return ir.initializer(self.graph, f"{self._stem}/{name}", array)

    def scalar(self, name: str, number: float) -> ir.Value:
        """A new float32 scalar."""
        return self.const(name, np.asarray(number, np.float32))

    def replace(self, value: ir.Value) -> bool:
        """Let a value made here, which equals the node's first output, take over its place, name and node name."""
        maker = value.producer()
        if maker is None:
            raise ValueError("only what a node makes can take another's place")
        old = self.node.outputs[0]
        name, shape, kind, node_name = old.name, old.shape, old.type, self.node.name
        ir.replace_uses(old, value)
        ir.remove(self.graph, [self.node])
        value.name, value.shape, value.type, maker.name = name, shape, kind, node_name
        return True
