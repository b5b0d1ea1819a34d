"""Edits for rules that write one node as several: nodes and constants made in front of it."""

from __future__ import annotations

import numpy as np

from effc.compiler import ir


class Before:
    """Makes nodes and constants in front of one node, and lets a value that equals its output take its place."""

    def __init__(self, node: ir.Node) -> None:
        if not isinstance(node.graph, ir.Graph):
            raise ValueError(f"{node.name} is in no graph")
        self.graph, self.node = node.graph, node
        self._stem = node.outputs[0].name or node.op_type

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: object) -> ir.Value:
        """A new node's output, of its first input's element type; its shape comes with the next inference."""
        made = ir.node(op_type, list(inputs), attributes)
        name = ir.fresh_name(self.graph, f"{self._stem}/{op_type}")
        made.name = made.outputs[0].name = name
        made.outputs[0].type = inputs[0].type if inputs and inputs[0] is not None else None
        self.graph.insert_before(self.node, made)
        return made.outputs[0]

    def exact(self, op_type: str, *inputs: ir.Value | None, **attributes: object) -> ir.Value:
        """`op` whose output stays in floats in quantized models too: 8 bits are too few for it."""
        made = self.op(op_type, *inputs, **attributes)
        made.metadata_props[ir.RANGE_PROPERTY] = ir.NO_RANGE
        return made

    def const(self, name: str, array: ir.Array) -> ir.Value:
        """A new initializer."""
        return ir.initializer(self.graph, f"{self._stem}/{name}", array)

    def scalar(self, name: str, number: float, like: ir.Value | None = None) -> ir.Value:
        """A new scalar of the float type of a value, by default the node's output; float32 where it has none."""
        kind = (self.node.outputs[0] if like is None else like).dtype
        given = kind.numpy() if kind is not None and kind.is_floating_point() else np.float32
        return self.const(name, np.asarray(number, given))

    def cast(self, value: ir.Value | None, kind: ir.DataType) -> ir.Value:
        """The value in another element type."""
        made = self.op("Cast", value, to=int(kind))
        made.type = ir.tensor_type(kind)
        return made

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
        value.metadata_props.pop(ir.RANGE_PROPERTY, None)
        value.metadata_props.update(old.metadata_props)
        return True
