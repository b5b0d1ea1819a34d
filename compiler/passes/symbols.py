"""Dims that follow from shape arithmetic on symbols, where ONNX's own inference leaves them open."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from effc.compiler import ir
from effc.compiler.passes import shapes
from effc.compiler.passes.chains import FAR
from effc.compiler.passes.rewrite import each, input_at, scalar
from effc.compiler.passes.turns import BROADCAST, UNARY
from effc.compiler.phase import Step

Dim = int | str
Dims = tuple[Dim, ...]
_OPEN = "?"


def name_dims(node: ir.Node) -> bool:
    """Give the output the dims that its inputs tell; whether any was open before."""
    value, found = node.outputs[0], _dims(node)
    old = ir.shape(value)
    if found is None or (old is not None and len(old) != len(found)):
        return False
    merged = [f if o == _OPEN else o for o, f in zip(old or found, found, strict=True)]
    if old is not None and tuple(merged) == old:
        return False
    value.shape = ir.Shape([None if d == _OPEN else d for d in merged])
    return old is None or any(d != _OPEN for o, d in zip(old, merged, strict=True) if o == _OPEN)


def _dims(node: ir.Node) -> Dims | None:
    if node.op_type in UNARY:
        return ir.shape(node.inputs[0])
    if node.op_type in BROADCAST:
        return _broadcast([ir.shape(v) for v in node.inputs if v is not None])
    rule = {"Expand": _expand, "Gather": _gather, "Range": _range, "Slice": _slice, "GatherElements": _elements}
    return rule[node.op_type](node)


def _broadcast(operands: Sequence[Dims | None]) -> Dims | None:
    result: Dims = ()
    for dims in operands:
        if dims is None:
            return None
        pairs = zip_longest(reversed(result), reversed(dims), fillvalue=1)
        result = tuple(reversed([_wider(a, b) for a, b in pairs]))
    return result


def _wider(a: Dim, b: Dim) -> Dim:
    """The dim of two that are broadcast: a number above 1 wins, and n wins over min(k, n), which is 1 only if n is."""
    if b in (a, 1):
        return a
    if a == 1:
        return b
    for one, other in ((a, b), (b, a)):
        if isinstance(one, int) or (str(other).startswith("min(") and str(other).endswith(f", {one})")):
            return one
    return _OPEN


def _expand(node: ir.Node) -> Dims | None:
    target, source = shapes.known(node.inputs[1]), ir.shape(node.inputs[0])
    return None if target is None else _broadcast([tuple(_OPEN if t is None else t for t in target), source])


def _gather(node: ir.Node) -> Dims | None:
    data, indices = (ir.shape(v) for v in node.inputs)
    if data is None or indices is None:
        return None
    axis = ir.attr_int(node, "axis", 0) % max(1, len(data))
    return (*data[:axis], *indices, *data[axis + 1 :])


def _elements(node: ir.Node) -> Dims | None:
    return ir.shape(node.inputs[1])


def _range(node: ir.Node) -> Dims | None:
    """Range(0, n, 1) has n entries; sizes are not negative."""
    limit = shapes.known(node.inputs[1])
    if scalar(node.inputs[0]) != 0 or scalar(node.inputs[2]) != 1 or limit is None or len(limit) != 1:
        return None
    return (limit[0],) if isinstance(limit[0], str) else None


def _slice(node: ir.Node) -> Dims | None:
    """x[:n] has min(dim, n) entries along an axis."""
    dims, axes = ir.shape(node.inputs[0]), shapes.known(input_at(node, 3))
    starts, ends = shapes.known(node.inputs[1]), shapes.known(node.inputs[2])
    steps = shapes.known(input_at(node, 4)) if input_at(node, 4) is not None else None
    if dims is None or starts is None or ends is None or axes is None or any(s != 1 for s in steps or ()):
        return None
    result = list(dims)
    for axis, start, end in zip(axes, starts, ends, strict=True):
        if not isinstance(axis, int):
            return None
        result[axis] = _cut(dims[axis], start, end)
    return tuple(result)


def _cut(dim: Dim, start: shapes.Entry, end: shapes.Entry) -> Dim:
    if start != 0 or end is None or dim == _OPEN:
        return _OPEN
    if end == dim or (isinstance(end, int) and end >= FAR):
        return dim
    if isinstance(dim, int) and isinstance(end, str):
        return f"min({dim}, {end})"
    return min(dim, end) if isinstance(dim, int) and isinstance(end, int) and end >= 0 else _OPEN


STEPS = (
    Step("symbolic dims", each(name_dims, *UNARY, *BROADCAST, "Expand", "Gather", "GatherElements", "Range", "Slice")),
)
