"""Transposes that undo each other or move nothing go, also across ops between them."""

from __future__ import annotations

from collections.abc import Sequence

from effc.compiler import ir
from effc.compiler.passes.layouts import fewest_transposes
from effc.compiler.passes.rewrite import bypass, constant, each, maker, replace
from effc.compiler.passes.targets import Dims, same_but_ones, target
from effc.compiler.passes.turns import Perm, perm_of
from effc.compiler.phase import Step


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


def _undoes(p: Perm, q: Perm) -> bool:
    return len(p) == len(q) and all(p[i] == axis for axis, i in enumerate(q))


def of_ones(node: ir.Node) -> bool:
    """A Transpose that leaves the dims other than 1 in their order is a Reshape."""
    perm, dims = perm_of(node), ir.shape(node.inputs[0])
    if perm is None or dims is None:
        return False
    return _is_sorted(_moved(perm, dims)) and _reshaped(node, node.inputs[0], tuple(dims[i] for i in perm))


def with_reshape(node: ir.Node) -> bool:
    """A Transpose before or after a Reshape that only adds or drops dims of 1 is one Reshape or one Transpose."""
    inner = maker(node.inputs[0], "Transpose" if node.op_type == "Reshape" else "Reshape")
    if inner is None:
        return False
    x, dims = inner.inputs[0], [ir.shape(v) for v in (inner.inputs[0], inner.outputs[0], node.outputs[0])]
    turn, reshape = (inner, node) if node.op_type == "Reshape" else (node, inner)
    perm, (before, between, after) = perm_of(turn), dims
    if perm is None or before is None or between is None:
        return False
    if turn is node:
        after = tuple(between[i] for i in perm)
    if after is None or not same_but_ones(*((before, between) if reshape is inner else (between, after))):
        return False
    order = _moved(perm, between if turn is node else before)
    if _is_sorted(order):
        return _reshaped(node, x, after)
    return len(before) == len(after) and replace(node, "Transpose", [x], {"perm": _filled(order, before, after)})


def _moved(perm: Perm, dims: Dims) -> list[int]:
    """The order of the dims other than 1, each by its number among them before."""
    numbers = [axis for axis, d in enumerate(dims) if d != 1]
    return [numbers.index(axis) for axis in perm if dims[axis] != 1]


def _is_sorted(order: Sequence[int]) -> bool:
    return list(order) == sorted(order)


def _filled(order: list[int], before: Dims, after: Dims) -> list[int]:
    """A permutation that moves the dims other than 1 by `order` and puts those of 1 in the places left."""
    others = [axis for axis, d in enumerate(before) if d != 1]
    ones = iter([axis for axis, d in enumerate(before) if d == 1])
    moved = iter(others[i] for i in order)
    return [next(ones) if d == 1 else next(moved) for d in after]


def _reshaped(node: ir.Node, x: ir.Value | None, dims: Dims) -> bool:
    entries = target(dims, ir.shape(x))
    return entries is not None and replace(node, "Reshape", [x, constant(node, "shape", entries)])


STEPS = (
    Step("chained transposes", each(chain, "Transpose")),
    Step("transposes by minimum cut", fewest_transposes),
    Step("transposes and reshapes", each(with_reshape, "Transpose", "Reshape")),
    Step("transposes of ones", each(of_ones, "Transpose")),
)
