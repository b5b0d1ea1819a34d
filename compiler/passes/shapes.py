"""Integers that follow from shapes: Shape, Gather, Concat and their like evaluated with some dims unknown."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from effc.compiler import ir
from effc.compiler.passes.rewrite import bypass, constant, input_at, is_standard, replace

Known = tuple[int | None, ...]
"""A vector (or a scalar as one entry) of integers; None where an entry is not known."""

_LONGEST = 64
_DEEPEST = 32


def known(value: ir.Value | None, depth: int = 0) -> Known | None:
    """What is known of an integer scalar or vector; None when it is anything else or nothing is known."""
    array = ir.const(value)
    if array is not None:
        small = array.ndim <= 1 and array.size <= _LONGEST and array.dtype.kind in "iu"
        return tuple(int(i) for i in array.ravel()) if small else None
    node = None if value is None else value.producer()
    if node is None or not is_standard(node) or node.op_type not in _RULES or depth > _DEEPEST:
        return None
    if value is not node.outputs[0] or value.dtype not in (ir.DataType.INT64, ir.DataType.INT32):
        return None
    return _RULES[node.op_type](node, depth + 1)


def fold(node: ir.Node) -> bool:
    """An integer vector whose entries all follow from shapes is a constant."""
    output = node.outputs[0]
    if node.op_type not in _RULES or output.is_graph_output() or output.dtype is None:
        return False
    entries = known(output)
    if entries is None or None in entries:
        return False
    rank = len(ir.shape(output) or ())
    if ir.shape(output) is None or rank > 1:
        return False
    array = np.array(entries, output.dtype.numpy()).reshape(() if rank == 0 else -1)
    name, output.name = output.name, f"{output.name}__replaced"
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    return bypass(node, ir.initializer(graph, name or "shape", array))


def fold_target(node: ir.Node) -> bool:
    """Reshape and Expand to a shape of which one entry is unknown take a constant shape.

    Reshape: the unknown entry is -1. Expand: it is 1 where the input already has the output's dim.
    """
    if ir.const(input_at(node, 1)) is not None:
        return False
    target = known(input_at(node, 1))
    if target is None:
        return False
    entries = _reshape_target(target) if node.op_type == "Reshape" else _expand_target(node, target)
    if entries is None or (node.op_type == "Reshape" and ir.attr_int(node, "allowzero", 0)):
        return False
    return replace(node, node.op_type, [node.inputs[0], constant(node, "shape", np.array(entries, np.int64))])


def _reshape_target(target: Known) -> list[int] | None:
    entries = [-1 if entry is None else entry for entry in target]
    return entries if entries.count(-1) <= 1 and (0 not in entries or -1 not in entries) else None


def _expand_target(node: ir.Node, target: Known) -> list[int] | None:
    source, result = ir.shape(node.inputs[0]), ir.shape(node.outputs[0])
    if source is None or result is None or len(result) != len(target):
        return None
    aligned = (1,) * (len(result) - len(source)) + source
    entries = [t if t is not None else (1 if s == r != "?" else None) for t, s, r in zip(target, aligned, result, strict=True)]
    return None if None in entries else [e for e in entries if e is not None]


# how each op treats partly known integers


def _shape(node: ir.Node, depth: int) -> Known | None:
    del depth
    dims = ir.shape(node.inputs[0])
    if dims is None:
        return None
    start, end = ir.attr_int(node, "start", 0), ir.attr_int(node, "end", len(dims))
    return tuple(d if isinstance(d, int) else None for d in dims[start:end])


def _same(node: ir.Node, depth: int) -> Known | None:
    """Cast, Identity and changes of rank between scalar and vector keep the entries."""
    dims = ir.shape(node.outputs[0])
    return known(node.inputs[0], depth) if dims is not None and len(dims) <= 1 else None


def _concat(node: ir.Node, depth: int) -> Known | None:
    parts = [known(v, depth) for v in node.inputs]
    if any(part is None for part in parts):
        dims = [ir.static_shape(v) for v in node.inputs]
        if any(d is None or len(d) != 1 for d in dims):
            return None
        parts = [p if p is not None else (None,) * (d or (0,))[0] for p, d in zip(parts, dims, strict=True)]
    return tuple(entry for part in parts for entry in part or ())


def _gather(node: ir.Node, depth: int) -> Known | None:
    data, indices = known(node.inputs[0], depth), ir.const(node.inputs[1])
    if data is None or indices is None or indices.ndim > 1 or len(ir.shape(node.inputs[0]) or ()) != 1:
        return None
    return tuple(data[int(i)] for i in indices.ravel()) if np.all(np.abs(indices + 0.5) < len(data)) else None


def _slice(node: ir.Node, depth: int) -> Known | None:
    data = known(node.inputs[0], depth)
    parts = [ir.const(input_at(node, i)) for i in (1, 2, 4)]
    if data is None or parts[0] is None or parts[1] is None or (input_at(node, 4) is not None and parts[2] is None):
        return None
    start, end, step = (1 if p is None else int(p.ravel()[0]) for p in parts)
    return data[start:end:step] if step > 0 else None


def _arithmetic(function: Callable[[int, int], int]) -> Callable[[ir.Node, int], Known | None]:
    def rule(node: ir.Node, depth: int) -> Known | None:
        a, b = known(node.inputs[0], depth), known(node.inputs[1], depth)
        if a is None or b is None or (len(a) != len(b) and 1 not in (len(a), len(b))):
            return None
        size = max(len(a), len(b))
        pairs = zip(a * (size // len(a)), b * (size // len(b)), strict=True) if a and b else ()
        return tuple(None if x is None or y is None else function(x, y) for x, y in pairs)

    return rule


def _divide(a: int, b: int) -> int:
    return int(a / b) if b else 0


_RULES: dict[str, Callable[[ir.Node, int], Known | None]] = {
    "Shape": _shape,
    **dict.fromkeys(("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape"), _same),
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Add": _arithmetic(lambda a, b: a + b),
    "Sub": _arithmetic(lambda a, b: a - b),
    "Mul": _arithmetic(lambda a, b: a * b),
    "Div": _arithmetic(_divide),
}
