"""Integers that follow from shapes: Shape, Gather, Concat and their like evaluated with some dims unknown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np

from effc.compiler import ir
from effc.compiler.passes.rewrite import bypass, constant, graph_of, input_at, is_standard, replace

Entry = int | str | None
Known = tuple[Entry, ...]
"""A vector (or a scalar as one entry) of integers: numbers, symbols of dims, None for what is not known."""

Memo = dict[ir.Value, Known | None]

_INTEGERS = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL)
_LONGEST = 64
_MOST_TENSORS = 150


def known(value: ir.Value | None, memo: Memo | None = None) -> Known | None:
    """What is known of an integer scalar or vector; None when it is anything else or nothing is known.

    `memo` holds what was found on the way, so that a tensor read twice is looked at once.
    """
    memo = {} if memo is None else memo
    if value is None or len(memo) > _MOST_TENSORS:
        return None
    if value not in memo:
        memo[value] = None
        memo[value] = _find(value, memo)
    return memo[value]


def _find(value: ir.Value, memo: Memo) -> Known | None:
    array = ir.const(value)
    if array is not None:
        small = array.ndim <= 1 and array.size <= _LONGEST and array.dtype.kind in "iub"
        return tuple(int(i) for i in array.ravel()) if small else None
    node = value.producer()
    if node is None or not is_standard(node) or node.op_type not in _RULES:
        return None
    if value is not node.outputs[0] or value.dtype not in _INTEGERS:
        return None
    entries = _RULES[node.op_type](node, memo)
    return None if entries is None else tuple(_held(e, value.dtype) for e in entries)


def _held(entry: Entry, kind: ir.DataType | None) -> Entry:
    """The entry where values of this type can be it: what wraps is left to runtimes."""
    if not isinstance(entry, int):
        return None if kind == ir.DataType.BOOL else entry
    if kind == ir.DataType.BOOL:
        return entry if entry in (0, 1) else None
    bits = 31 if kind == ir.DataType.INT32 else 63
    return entry if -(1 << bits) <= entry < 1 << bits else None


def fold(node: ir.Node) -> bool:
    """An integer vector whose entries all follow from shapes is a constant, as a graph output its Identity."""
    output = node.outputs[0]
    if node.op_type not in _RULES or output.dtype is None or (output.is_graph_output() and _is_copy(node)):
        return False
    entries = known(output)
    if entries is None or not all(isinstance(e, int) for e in entries):
        return False
    rank = len(ir.shape(output) or ())
    if ir.shape(output) is None or rank > 1:
        return False
    array = np.array(entries, output.dtype.numpy()).reshape(() if rank == 0 else -1)
    if output.is_graph_output():
        return array.size > 0 and replace(node, "Identity", [constant(node, "value", array)])
    return bypass(node, ir.frozen(graph_of(node), output, array))


def _is_copy(node: ir.Node) -> bool:
    """Whether it gives a constant, or another output, a second name: no form of it is simpler."""
    source = node.inputs[0] if node.op_type == "Identity" else None
    return source is not None and (ir.const(source) is not None or source.is_graph_output())


def fold_reshape(node: ir.Node) -> bool:
    """Reshape to a shape of which one entry is not a number takes a constant shape with -1 there."""
    target, dims = known(input_at(node, 1)), ir.shape(node.inputs[0])
    if target is None or ir.const(node.inputs[1]) is not None or 0 in target or ir.attr_int(node, "allowzero", 0):
        return False
    target = target if dims is None else without_wildcard(target, dims)
    entries = _entries(target, dims)
    if entries.count(-1) > 1:
        return False
    if None not in target and -1 not in target:
        node.outputs[0].shape = ir.Shape([e for e in target if e is not None])
    return replace(node, "Reshape", [node.inputs[0], constant(node, "shape", np.array(entries, np.int64))])


def _entries(target: Known, dims: tuple[int | str, ...] | None) -> list[int]:
    """-1 for one open entry; where there are more, 0 for those that the input has at the same place."""
    entries = [entry if isinstance(entry, int) else -1 for entry in target]
    if entries.count(-1) < 2 or dims is None:
        return entries
    same = [axis < len(dims) and isinstance(e, str) and dims[axis] == e for axis, e in enumerate(target)]
    return [0 if copied else entry for copied, entry in zip(same, entries, strict=True)]


def without_wildcard(target: Known, dims: tuple[int | str, ...]) -> Known:
    """Replace -1 by its number or symbol, where the other symbols of input and target cancel.

    (N, -1) of (N, 8, 2) is (N, 16), and (-1, 16) is (N, 16).
    """
    rest = Counter(e for e in target if e != -1)
    if target.count(-1) != 1 or None in rest:
        return target
    given, wanted = (Counter(e for e in part if not isinstance(e, int)) for part in (dims, rest.elements()))
    size, others = (math.prod(e for e in part if isinstance(e, int)) for part in (dims, rest.elements()))
    missing = list((given - wanted).elements())
    if wanted - given or "?" in given or not others or len(missing) > 1:
        return target
    if missing:
        return tuple(missing[0] if e == -1 else e for e in target) if size == others else target
    return tuple(size // others if e == -1 else e for e in target) if size % others == 0 else target


def fold_expand(node: ir.Node) -> bool:
    """Expand to a partly known shape takes 1 for each dim that the input has already."""
    target = known(input_at(node, 1))
    source, result = ir.shape(node.inputs[0]), ir.shape(node.outputs[0])
    if target is None or ir.const(node.inputs[1]) is not None or source is None or len(result or ()) != len(target):
        return False
    aligned = (1,) * (len(target) - len(source)) + source
    entries = [t if isinstance(t, int) else 1 for t in target]
    if any(not isinstance(t, int) and (t is None or t != s) for t, s in zip(target, aligned, strict=True)):
        return False
    return replace(node, "Expand", [node.inputs[0], constant(node, "shape", np.array(entries, np.int64))])


# how each op treats partly known integers


def _shape(node: ir.Node, memo: Memo) -> Known | None:
    del memo
    dims = ir.shape(node.inputs[0])
    if dims is None:
        return None
    start, end = ir.attr_int(node, "start", 0), ir.attr_int(node, "end", len(dims))
    return tuple(None if d == "?" else d for d in dims[start:end])


def _size(node: ir.Node, memo: Memo) -> Known | None:
    del memo
    dims = ir.static_shape(node.inputs[0])
    return None if dims is None else (math.prod(dims),)


def _same(node: ir.Node, memo: Memo) -> Known | None:
    """Identity and changes of rank between scalar and vector keep the entries."""
    dims = ir.shape(node.outputs[0])
    return known(node.inputs[0], memo) if dims is not None and len(dims) <= 1 else None


def _cast(node: ir.Node, memo: Memo) -> Known | None:
    """As booleans numbers are whether they are not 0, which of a symbol is not known."""
    entries = _same(node, memo)
    if entries is None or node.outputs[0].dtype != ir.DataType.BOOL:
        return entries
    return tuple(int(e != 0) if isinstance(e, int) else None for e in entries)


def _concat(node: ir.Node, memo: Memo) -> Known | None:
    parts = [known(v, memo) for v in node.inputs]
    if any(part is None for part in parts):
        dims = [ir.static_shape(v) for v in node.inputs]
        if any(d is None or len(d) != 1 for d in dims):
            return None
        parts = [p if p is not None else (None,) * (d or (0,))[0] for p, d in zip(parts, dims, strict=True)]
    return tuple(entry for part in parts for entry in part or ())


def _gather(node: ir.Node, memo: Memo) -> Known | None:
    data, indices = known(node.inputs[0], memo), ir.const(node.inputs[1])
    if data is None or indices is None or indices.ndim > 1 or len(ir.shape(node.inputs[0]) or ()) != 1:
        return None
    return (
        tuple(data[int(i)] for i in indices.ravel())
        if all(-len(data) <= int(i) < len(data) for i in indices.ravel())
        else None
    )


def _slice(node: ir.Node, memo: Memo) -> Known | None:
    data = known(node.inputs[0], memo)
    parts = [ir.const(input_at(node, i)) for i in (1, 2, 4)]
    if data is None or parts[0] is None or parts[1] is None or (input_at(node, 4) is not None and parts[2] is None):
        return None
    start, end, step = (1 if p is None else int(p.ravel()[0]) for p in parts)
    return data[start:end:step] if step > 0 else None


def _arithmetic(function: Callable[[int, int], int | None]) -> Callable[[ir.Node, Memo], Known | None]:
    def rule(node: ir.Node, memo: Memo) -> Known | None:
        a, b = known(node.inputs[0], memo), known(node.inputs[1], memo)
        if a is None or b is None or (len(a) != len(b) and 1 not in (len(a), len(b))):
            return None
        size = max(len(a), len(b))
        pairs = zip(a * (size // len(a)), b * (size // len(b)), strict=True) if a and b else ()
        return tuple(function(x, y) if isinstance(x, int) and isinstance(y, int) else None for x, y in pairs)

    return rule


def _equal(node: ir.Node, memo: Memo) -> Known | None:
    """Sizes equal no negative number."""
    pairs = _pairs(*(known(v, memo) for v in node.inputs))
    return None if pairs is None else tuple(_same_entry(a, b) for a, b in pairs)


def _same_entry(a: Entry, b: Entry) -> int | None:
    if a is None or b is None:
        return None
    if type(a) is type(b) and (a == b or isinstance(a, int)):
        return int(a == b)
    return 0 if any(isinstance(e, int) and e < 0 for e in (a, b)) else None


def _where(node: ir.Node, memo: Memo) -> Known | None:
    condition, a, b = (known(v, memo) for v in node.inputs)
    chosen = None if condition is None else _pairs(condition, a), _pairs(condition, b)
    if chosen[0] is None or chosen[1] is None or len(chosen[0]) != len(chosen[1]):
        return None
    both = zip(chosen[0], chosen[1], strict=True)
    return tuple(None if c is None else x if c else y for (c, x), (_, y) in both)


def _pairs(a: Known | None, b: Known | None) -> list[tuple[Entry, Entry]] | None:
    """Entries that meet when two vectors are broadcast."""
    if not a or not b or (len(a) != len(b) and 1 not in (len(a), len(b))):
        return None
    size = max(len(a), len(b))
    return list(zip(a * (size // len(a)), b * (size // len(b)), strict=True))


def _divide(a: int, b: int) -> int | None:
    """The quotient, rounded towards zero."""
    if not b:
        return None
    size = abs(a) // abs(b)
    return size if (a < 0) == (b < 0) else -size


_RULES: dict[str, Callable[[ir.Node, Memo], Known | None]] = {
    "Shape": _shape,
    "Size": _size,
    "Cast": _cast,
    **dict.fromkeys(("Identity", "Squeeze", "Unsqueeze", "Reshape"), _same),
    "Concat": _concat,
    "Gather": _gather,
    "Equal": _equal,
    "Where": _where,
    "Slice": _slice,
    "Add": _arithmetic(lambda a, b: a + b),
    "Sub": _arithmetic(lambda a, b: a - b),
    "Mul": _arithmetic(lambda a, b: a * b),
    "Div": _arithmetic(_divide),
}
