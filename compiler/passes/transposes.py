"""Transposes that undo each other go, also across element-wise ops between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from effc.compiler import ir
from effc.compiler.passes.rewrite import bypass, constant, each, graph_of, is_private, is_standard, maker, replace
from effc.compiler.phase import Step

Perm = tuple[int, ...]

_DEEPEST = 100

_UNARY = frozenset(
    {"Abs", "Cast", "Ceil", "Celu", "Clip", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish"}
    | {"Identity", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign"}
    | {"Sin", "Softplus", "Softsign", "Sqrt", "Tanh", "ThresholdedRelu"}
)
_BROADCAST = frozenset(
    {"Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mul"}
    | {"Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor"}
)


def perm_of(node: ir.Node) -> Perm | None:
    """The permutation of a Transpose; None where it is the default and the rank is not known."""
    given = ir.attr_ints(node, "perm", ())
    if given:
        return given
    dims = ir.shape(node.inputs[0])
    return None if dims is None else tuple(reversed(range(len(dims))))


def chain(node: ir.Node) -> bool:
    """Transpose(Transpose(x, p), q) is Transpose(x, p[q]), and x itself where p[q] is 0, 1, 2, ..."""
    inner = maker(node.inputs[0], "Transpose")
    p, q = None if inner is None else perm_of(inner), perm_of(node)
    if inner is None or p is None or q is None or inner.inputs[0] is None:
        return False
    if _undoes(p, q) and bypass(node, inner.inputs[0]):
        return True
    if _undoes(p, q) and node.outputs[0].is_graph_output():
        return replace(node, "Identity", [inner.inputs[0]])
    return replace(node, "Transpose", [inner.inputs[0]], {"perm": [p[i] for i in q]})


def through(node: ir.Node) -> bool:
    """Transpose(f(Transpose(x, p), ...), q) is f(x, ...) for element-wise f and p[q] = 0, 1, 2, ...

    The tensors between have another layout afterwards, so they get new names; constants are transposed by q.
    """
    perm, top = perm_of(node), node.inputs[0]
    if perm is None or top is None or maker(top, *_UNARY, *_BROADCAST) is None or not _can_lift(top, perm):
        return False
    lifted = _lift(top, perm, node)
    made = lifted.producer()
    assert made is not None
    graph_of(node).remove(made)
    ir.substitute(node, made)
    return True


def _undoes(p: Perm, q: Perm) -> bool:
    return len(p) == len(q) and all(p[i] == axis for axis, i in enumerate(q))


def _operands(node: ir.Node) -> Sequence[ir.Value | None]:
    """Inputs that follow the layout; a Clip's bounds do not."""
    return node.inputs[:1] if node.op_type in _UNARY else node.inputs


def _can_lift(value: ir.Value | None, perm: Perm, depth: int = 0) -> bool:
    if value is None or depth > _DEEPEST:
        return False
    array, node = ir.const(value), value.producer()
    if array is not None:
        return array.ndim <= len(perm)
    if node is None or not is_standard(node):
        return False
    if node.op_type == "Transpose":
        source = perm_of(node)
        return source is not None and _undoes(source, perm)
    return (
        node.op_type in _UNARY | _BROADCAST
        and is_private(value)
        and all(_can_lift(v, perm, depth + 1) for v in _operands(node))
    )


def _lift(value: ir.Value, perm: Perm, root: ir.Node) -> ir.Value:
    """The value in the layout before the transposes, computed by copies of the nodes, put before `root`."""
    array, node = ir.const(value), value.producer()
    if array is not None:
        if array.size == 1:
            return value
        full = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
        return constant(root, "transposed", np.transpose(full, perm))
    assert node is not None
    if node.op_type == "Transpose" and node.inputs[0] is not None:
        return node.inputs[0]
    lifted = [_lift(v, perm, root) for v in _operands(node) if v is not None]
    copy = ir.node(node.op_type, [*lifted, *node.inputs[len(lifted) :]], node.attributes)
    result, dims = copy.outputs[0], ir.shape(value)
    result.name, result.type = ir.fresh_name(graph_of(root), f"{value.name}_lifted"), value.type
    result.shape = None if dims is None else ir.Shape([None if dims[i] == "?" else dims[i] for i in perm])
    graph_of(root).insert_before(root, copy)
    return result


STEPS = (
    Step("chained transposes", each(chain, "Transpose")),
    Step("transposes through element-wise ops", each(through, "Transpose")),
)
