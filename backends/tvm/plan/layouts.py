"""Which form each group takes, so that few tensors change their layout: a cheapest cut over the whole graph.

What a group reads and what it writes are row-major (the source's side of the cut) or in channel blocks (the sink's
side); where a tensor goes from one side to the other it is copied, which costs its bytes. Choosing sides with the least
copied is a minimum cut, as the choice of layouts in "Optimizing CNN Model Inference on CPUs" (USENIX ATC 2019) is a
shortest path where the graph is a chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from effc.backends.tvm.ops.table import Form, find
from effc.backends.tvm.plan.group import Group
from effc.compiler import ir
from effc.compiler.mincut import UNCUT, Edge, source_side

_UNSAFE = frozenset({"Div", "Log", "Pow", "Reciprocal", "Sqrt"})
"""Ops that may turn the finite filling of unused lanes into infinities."""
_COPY = 1 << 12
"""Bytes that could be copied in the time that one more kernel takes."""
_ROWS, _BLOCKED = (-1, "rows"), (-1, "blocked")
_IN, _OUT = "in", "out"
_IS_ROWS = {
    Form.ROWS: (True, True),
    Form.BLOCKED: (False, False),
    Form.ENTRY: (True, False),
    Form.EXIT: (False, True),
}
"""Whether a group of a form reads and writes row-major images."""
Node = tuple[int | ir.Value, str]
"""An end of a group, or a copy of a value, as a node of the graph that is cut."""


def forms(groups: Sequence[Group]) -> dict[int, Form]:
    """The form of each group, by its index."""
    open_to = [allowed(group) for group in groups]
    rows = source_side(_edges(groups, open_to), _ROWS, _BLOCKED)
    sides = {i: ((i, _IN) in rows, (i, _OUT) in rows) for i in range(len(groups))}
    return {i: next(form for form in choices if _IS_ROWS[form] == sides[i]) for i, choices in enumerate(open_to)}


def allowed(group: Group) -> tuple[Form, ...]:
    """The forms that a group can take: its anchor's, where its tail's operands can lie so too."""
    family = find(group.anchor) if group.anchor else None
    if group.anchor is not None:
        found = (Form.ROWS,) if family is None else family.forms(group.anchor)
    else:
        found = (Form.BLOCKED, Form.ROWS)
    if not blockable(group):
        found = tuple(form for form in found if _IS_ROWS[form][1]) or found
    if set(group.sources) & set(_read_by_tail(group)):  # in one layout, for both
        found = tuple(form for form in found if len(set(_IS_ROWS[form])) == 1) or found
    return found


def _read_by_tail(group: Group) -> Iterator[ir.Value]:
    return (value for node in group.tail for value in node.inputs if value is not None)


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
    for i, choices in enumerate(open_to):
        yield from _forbidden(i, {_IS_ROWS[form] for form in choices})
    producer = {value: i for i, group in enumerate(groups) for value in group.outputs}
    readers: dict[ir.Value, list[Node]] = {}
    for i, group in enumerate(groups):
        sources = set(group.sources)
        for value in group.reads:
            readers.setdefault(value, []).append((i, _IN if value in sources else _OUT))
        for value in group.outputs:
            if value.is_graph_output():
                readers.setdefault(value, []).append(_ROWS)
    for value, nodes in readers.items():
        made: Node = (producer[value], _OUT) if value in producer else _ROWS
        yield from _copies(value, made, nodes)


def _forbidden(i: int, open_to: set[tuple[bool, bool]]) -> Iterator[Edge]:
    """What a group cannot do: (rows in, rows out) are the sides of its two nodes."""
    for place, node in enumerate(((i, _IN), (i, _OUT))):
        seen = {sides[place] for sides in open_to}
        if seen == {True}:
            yield _ROWS, node, UNCUT
        elif seen == {False}:
            yield node, _BLOCKED, UNCUT
    if (True, False) not in open_to:
        yield (i, _IN), (i, _OUT), UNCUT
    if (False, True) not in open_to:
        yield (i, _OUT), (i, _IN), UNCUT


def _copies(value: ir.Value, made: Node, readers: Sequence[Node]) -> Iterator[Edge]:
    """One copy serves all readers: into blocks where any of them is on that side, or into rows."""
    dims = ir.shape(value) or ()
    if len(dims) < 3 or dims[1] == 1:  # lies so in either form
        return
    into_blocks, into_rows = (value, _IN), (value, _OUT)
    yield made, into_blocks, _bytes(value)
    yield into_rows, made, _bytes(value)
    for reader in readers:
        yield into_blocks, reader, UNCUT
        yield reader, into_rows, UNCUT


def _bytes(value: ir.Value) -> int:
    dims = [d if isinstance(d, int) else 1 for d in ir.shape(value) or ()]
    return _COPY + max(
        1, int(np.prod(dims, dtype=np.int64)) * (4 if value.dtype is None else int(value.dtype.itemsize))
    )
