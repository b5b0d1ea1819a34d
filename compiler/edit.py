"""Edits: nodes made in front of another one, and rules applied to every node of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir

from effc.compiler import ir


def rank(value: ir.Value | None) -> int:
    """The number of dims; 0 also where it is not known."""
    return 0 if value is None or value.shape is None else len(value.shape)


class Before:
    """Makes nodes and constants in front of one node and lets one of them take its place."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self.graph, self.node = graph, node
        self._stem = node.outputs[0].name or node.op_type

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """A new node's output; shapes come with the next inference."""
        name = ir.fresh_name(self.graph, f"{self._stem}/{op_type}")
        made = onnx_ir.node(op_type, list(inputs), attributes, name=name)
        made.outputs[0].name = name
        made.outputs[0].type = self.node.outputs[0].type
        self.graph.insert_before(self.node, made)
        return made.outputs[0]

    def const(self, name: str, array: ir.Array) -> ir.Value:
        """A new initializer."""
        return ir.initializer(self.graph, f"{self._stem}/{name}", array)

    def scalar(self, name: str, number: float) -> ir.Value:
        """A new float32 scalar."""
        return self.const(name, np.asarray(number, np.float32))

    def replace(self, value: ir.Value) -> None:
        """Let `value`, which equals the node's first output, take its place and name; the node goes."""
        old = self.node.outputs[0]
        name, shape, kind = old.name, old.shape, old.type
        ir.replace_uses(old, value)
        ir.remove(self.graph, [self.node])
        value.name, value.shape, value.type = name, shape, kind


def rewrite_each(model: ir.Model, rule: Callable[[ir.Graph, ir.Node], bool]) -> bool:
    """Apply a rule once to each node that the graph has now; whether any changed."""
    return any([rule(model.graph, node) for node in list(model.graph) if node.graph is model.graph])
