"""Squeeze and Unsqueeze in a row: dims of 1 that come and go again, whatever the other dims are."""

from __future__ import annotations

import numpy as np

from effc.compiler import ir
from effc.compiler.passes.rewrite import constant, each, input_at, maker, replace, stand_in
from effc.compiler.phase import Step

Axes = frozenset[int]
_OPS = ("Squeeze", "Unsqueeze")


def pair(node: ir.Node) -> bool:
    """Squeeze(Unsqueeze(x)) and the reverse are x, or what is left of both where one's axes hold the other's."""
    inner = maker(node.inputs[0], *_OPS)
    x = None if inner is None else inner.inputs[0]
    outer_axes, inner_axes = _axes(node), None if inner is None else _axes(inner)
    if inner is None or x is None or outer_axes is None or inner_axes is None:
        return False
    if node.op_type == inner.op_type:
        return _both(node, x, inner_axes, outer_axes)
    if outer_axes == inner_axes:
        return stand_in(node, x)
    return node.op_type == "Squeeze" and _rest(node, x, inner_axes, outer_axes)


def _axes(node: ir.Node) -> Axes | None:
    """The axes, counted from the start of the tensor that has them."""
    array = ir.const(input_at(node, 1))
    whole = node.inputs[0] if node.op_type == "Squeeze" else node.outputs[0]
    axes = [] if array is None else [int(axis) for axis in array.ravel()]
    if array is None or (ir.shape(whole) is None and min(axes, default=0) < 0):
        return None
    return frozenset(axis % ir.rank(whole) if axis < 0 else axis for axis in axes)


def _both(node: ir.Node, x: ir.Value, first: Axes, second: Axes) -> bool:
    """Two of a kind are one: the axes of both, as the tensor with more dims counts them."""
    few, many = (first, second) if node.op_type == "Unsqueeze" else (second, first)
    return _made(node, node.op_type, x, many | {_widened(axis, many) for axis in few})


def _rest(node: ir.Node, x: ir.Value, added: Axes, removed: Axes) -> bool:
    """What Unsqueeze adds beyond what Squeeze removes, or the reverse."""
    if removed < added:
        return _made(node, "Unsqueeze", x, frozenset(_narrowed(axis, removed) for axis in added - removed))
    if added < removed:
        return _made(node, "Squeeze", x, frozenset(_narrowed(axis, added) for axis in removed - added))
    return False


def _narrowed(axis: int, gone: Axes) -> int:
    return axis - sum(other < axis for other in gone)


def _widened(axis: int, added: Axes) -> int:
    """Where an axis lies when the others have been put in."""
    for other in sorted(added):
        axis += other <= axis
    return axis


def _made(node: ir.Node, op: str, x: ir.Value, axes: Axes) -> bool:
    return replace(node, op, [x, constant(node, "axes", np.array(sorted(axes), np.int64))])


STEPS = (Step("squeezes and back", each(pair, *_OPS)),)
