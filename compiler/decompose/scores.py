"""Attention scores: what stays in floats around a Softmax that does."""

from __future__ import annotations

from effc.compiler import ir

_CARRIERS = frozenset({"Add", "Div", "Expand", "Mul", "Reshape", "Sub", "Unsqueeze", "Where"})
_LEAST_RANK = 3


def scores(node: ir.Node) -> bool:
    """Sums, products and selections that end in a Softmax of matrices keep floats.

    The lowest value of a mask among them leaves no step of 8 bits for the other values.
    """
    if node.op_type != "Softmax" or ir.rank(node.inputs[0]) < _LEAST_RANK:
        return False
    pending, changed = [node.inputs[0]], False
    while pending:
        value = pending.pop()
        maker = None if value is None else value.producer()
        if value is None or maker is None or maker.op_type not in _CARRIERS or _is_kept(value):
            continue
        value.metadata_props[ir.RANGE_PROPERTY], changed = ir.NO_RANGE, True
        pending += maker.inputs
    return changed


def _is_kept(value: ir.Value) -> bool:
    return value.metadata_props.get(ir.RANGE_PROPERTY) == ir.NO_RANGE
