"""What rules are made of: a rule looks at one node, edits the graph around it and says whether it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from effc.compiler import ir, walk
from effc.compiler.phase import Transform

Rule = Callable[[ir.Node], bool]
nodes = walk.everywhere
RANDOM_OPS = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout"}
)
QUANTIZE_OPS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})


def each(rule: Rule, *ops: str) -> Transform:
    """Apply a rule to every node of these ops (of any op without them), then drop what nothing uses any more."""

    wanted = frozenset(ops)

    def apply(model: ir.Model) -> bool:
        changed = False
        chosen = [node for node in nodes(model.graph) if (not wanted or node.op_type in wanted) and is_standard(node)]
        for node in chosen:
            if node.graph is not None:
                changed |= rule(node)
        if changed:
            ir.prune(model)
        return changed

    return apply


def is_standard(node: ir.Node) -> bool:
    """Whether the node is of the default ONNX domain."""
    return node.domain in ("", "ai.onnx")


def graph_of(node: ir.Node) -> ir.Graph:
    """The graph that holds the node."""
    if not isinstance(node.graph, ir.Graph):
        raise ValueError(f"{node.name} is in no graph")
    return node.graph


def bypass(node: ir.Node, value: ir.Value) -> bool:
    """Let `value`, which equals the node's first output, take that output's place.

    Refused where a graph output would then be a graph input, an initializer or a second graph output.
    """
    output = node.outputs[0]
    if output.is_graph_output():
        if value.is_graph_output() or value.producer() is None or value.graph is not node.graph:
            return False
        replaced_name = output.name
        ir.replace_uses(output, value)
        value.name = replaced_name
    else:
        ir.replace_uses(output, value)
    ir.remove(graph_of(node), [node])
    return True


def stand_in(node: ir.Node, value: ir.Value) -> bool:
    """`bypass`, or where that is refused an Identity of the value."""
    return bypass(node, value) or replace(node, "Identity", [value])


def replace(
    node: ir.Node, op: str, inputs: list[ir.Value | None], attributes: Mapping[str, object] | None = None
) -> bool:
    """Put a new node in the place of `node`; its output keeps name, type and shape."""
    ir.substitute(node, ir.node(op, inputs, attributes))
    return True


def constant(node: ir.Node, suffix: str, array: ir.Array) -> ir.Value:
    """A new initializer named after the node's first output."""
    return ir.initializer(graph_of(node), f"{node.outputs[0].name}_{suffix}", array)


def input_at(node: ir.Node, index: int) -> ir.Value | None:
    """The input, None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def maker(value: ir.Value | None, *ops: str) -> ir.Node | None:
    """The node of one of these ops that produces the value, None otherwise."""
    node = None if value is None else value.producer()
    return node if node is not None and is_standard(node) and node.op_type in ops else None


def only_reader(value: ir.Value) -> ir.Node | None:
    """The node whose one use of the value is the only one, None if there are more, none, or it is a graph output."""
    uses = value.uses()
    return next(iter(uses)).node if len(uses) == 1 and not value.is_graph_output() else None


def is_private(value: ir.Value) -> bool:
    """Whether the value is used once, so that its producer may be changed together with its reader."""
    return only_reader(value) is not None


def scalar(value: ir.Value | None) -> float | None:
    """The number that every element of a constant equals, None for anything else."""
    array = ir.const(value)
    if array is None or array.size == 0 or array.dtype.kind not in "fiu":
        return None
    first = array.flat[0]
    return float(first) if ir.is_splat(array) or bool(np.all(array == first)) else None


def is_row(array: ir.Array, size: int) -> bool:
    """Whether the array broadcasts to (M, size) with equal rows for any M, so that it is a bias over columns."""
    return array.size in (1, size) and array.shape[-1:] in ((), (array.size,)) and array.ndim <= 2


def same_shape(a: ir.Value, b: ir.Value) -> bool:
    """Whether both shapes are known and equal, dims without a name counting as unequal."""
    dims = ir.shape(a)
    return dims is not None and dims == ir.shape(b) and "?" not in dims


def is_float(value: ir.Value | None) -> bool:
    """Whether the value's element type is a floating-point one."""
    return value is not None and value.dtype is not None and value.dtype.is_floating_point()
