"""f(x) and f(x) are one f(x): what is computed twice is computed once, also where a branch or loop does it again."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Hashable

import onnx_ir

from effc.compiler import ir, walk
from effc.compiler.passes.rewrite import RANDOM_OPS, is_standard, replace
from effc.compiler.phase import Step

_SWAPPING = frozenset(
    {"Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Equal", "Max", "Mean", "Min", "Mul", "Or", "Sum", "Xor"}
)
"""Ops that give the same, bit for bit, for their two operands in either order."""
_MIRRORED = {"Less": "Greater", "LessOrEqual": "GreaterOrEqual"}
"""a < b is b > a."""
_LONGEST = 16
"""Tensor attributes of more elements count as different."""


def common_subexpressions(model: ir.Model) -> bool:
    """Nodes of the same op, attributes and operands are one; random ones are left alone."""
    return _merge(model.graph, ChainMap())


def _merge(graph: ir.Graph, seen: ChainMap[Hashable, ir.Node]) -> bool:
    """Let nodes of the graph go that do what one before them does, in it or around it."""
    changed = False
    for node in list(graph):
        inner = walk.within(node)
        for held in inner:
            changed |= _merge(held, seen.new_child())
        if inner or (is_standard(node) and node.op_type in RANDOM_OPS):
            continue
        kept = seen.setdefault(_key(node), node)
        changed |= kept is not node and _stand_in(kept, node)
    return changed


def _key(node: ir.Node) -> Hashable:
    """What two nodes agree in that compute the same."""
    op, operands = node.op_type, [id(value) for value in node.inputs]
    if is_standard(node) and len(operands) == 2:
        if op in _SWAPPING:
            operands.sort()
        elif op in _MIRRORED:
            op, operands = _MIRRORED[op], operands[::-1]
    attributes = frozenset((a.name, a.type, _content(a)) for a in node.attributes.values())
    return node.domain, op, node.overload, tuple(operands), attributes, tuple(bool(v.name) for v in node.outputs)


def _content(attribute: ir.Attr) -> Hashable:
    held = attribute.value
    if attribute.type == onnx_ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        small = tensor.size <= _LONGEST and tensor.dtype != ir.DataType.STRING
        return (tensor.dtype, tuple(tensor.shape), tensor.tobytes()) if small else id(tensor)
    return repr(tuple(held)) if isinstance(held, list | tuple) else repr(held)


def _stand_in(kept: ir.Node, node: ir.Node) -> bool:
    """Let what is kept take a node's place; a graph output that cannot be it is its Identity."""
    outside = kept.graph is not node.graph
    pairs = list(zip(node.outputs, kept.outputs, strict=True))
    if any(old.is_graph_output() and (outside or new.is_graph_output()) for old, new in pairs):
        plain = len(pairs) == 1 and node.op_type != "Identity"
        return plain and replace(node, "Identity", [kept.outputs[0]])
    for old, new in pairs:
        ir.replace_uses(old, new)
    assert node.graph is not None
    node.graph.remove(node, safe=True)
    return True


STEPS = (Step("common subexpressions", common_subexpressions),)
