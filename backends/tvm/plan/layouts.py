"""Which form each group takes, so that few tensors change their layout: a cheapest cut over the whole graph.

A group's tensors are row-major (the source's side of the cut) or in channel blocks (the sink's side); where a tensor
goes from one side to the other it is copied, which costs its bytes. Choosing sides with the least copied is a minimum
cut, as the choice of layouts in "Optimizing CNN Model Inference on CPUs" (USENIX ATC 2019) is a shortest path where
the graph is a chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from effc.backends.tvm.ops.table import Form, find
from effc.backends.tvm.plan.group import ELEMENTWISE, Group
from effc.compiler import ir
from effc.compiler.mincut import UNCUT, Edge, source_side

_UNSAFE = frozenset({"Div", "Log", "Pow", "Reciprocal", "Sqrt"})
"""Ops that may turn the finite filling of unused lanes into infinities."""


def forms(groups: Sequence[Group]) -> dict[int, Form]:
    """The form of each group, by its index."""
    open_to = [allowed(group) for group in groups]
    rows = source_side(_edges(groups, open_to), "rows", "blocked")
    return {i: _form(i in rows, choices) for i, choices in enumerate(open_to)}


def _form(rows: bool, choices: tuple[Form, ...]) -> Form:
    if rows and Form.ROWS in choices:
        return Form.ROWS
    return next(form for form in choices if form is not Form.ROWS)


def allowed(group: Group) -> tuple[Form, ...]:
    """The forms that a group can take: its anchor's, where its tail's operands can lie so too."""
    family = find(group.anchor) if group.anchor else None
    if group.anchor is not None:
        found = (Form.ROWS,) if family is None else family.forms(group.anchor)
    else:
        found = (Form.BLOCKED, Form.ROWS)
    if blockable(group):
        return found
    kept = tuple(form for form in found if form is Form.ROWS)
    return kept or found


def blockable(group: Group) -> bool:
    """Whether the tail can run on channel blocks."""
    shape = ir.shape(group.outputs[0]) or ()
    anchored = group.anchor.outputs[0] if group.anchor else None
    own = {anchored, *(v for node in group.tail for v in node.outputs)}
    if len(shape) < 3 or not isinstance(shape[1], int):
        return False
    for node in group.tail:
        if node.op_type in _UNSAFE and not (node.op_type == "Div" and ir.const(node.inputs[1]) is not None):
            return False
        for value in node.inputs:
            if value is None or value in own or ir.const(value) is not None:
                continue
            dims = ir.shape(value) or ()
            if len(dims) != len(shape) or dims[1] not in (1, shape[1]) or (dims[1] == 1) != (shape[1] == 1):
                return False
    return True


def _edges(groups: Sequence[Group], open_to: Sequence[tuple[Form, ...]]) -> Iterator[Edge]:
    producer: Mapping[ir.Value, int] = {v: i for i, group in enumerate(groups) for v in group.outputs}
    for i, choices in enumerate(open_to):
        if Form.ROWS not in choices and Form.ENTRY not in choices:
            yield i, "blocked", UNCUT
        elif choices == (Form.ROWS,):
            yield "rows", i, UNCUT
        elif Form.ENTRY in choices:
            yield i, "blocked", UNCUT
    for i, group in enumerate(groups):
        if Form.ENTRY in open_to[i]:
            continue
        for value in group.reads:
            if len(ir.shape(value) or ()) < 3:
                continue
            source = producer.get(value, "rows")
            yield source, i, _bytes(value)
            yield i, source, _bytes(value)
    for group in groups:
        for value in group.outputs:
            if value.is_graph_output() and len(ir.shape(value) or ()) >= 3:
                yield producer[value], "rows", _bytes(value)
                yield "rows", producer[value], _bytes(value)


def _bytes(value: ir.Value) -> int:
    dims = [d if isinstance(d, int) else 1 for d in ir.shape(value) or ()]
    return max(1, int(np.prod(dims, dtype=np.int64)) * (4 if value.dtype is None else int(value.dtype.itemsize)))


__all__ = ["ELEMENTWISE", "allowed", "forms"]
