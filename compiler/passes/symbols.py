"""Dims that follow from shape arithmetic on symbols, where ONNX's own inference leaves them open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest

import numpy as np
import onnx_ir

from effc.compiler import ir
from effc.compiler.passes import shapes
from effc.compiler.passes.chains import FAR
from effc.compiler.passes.rewrite import constant, each, input_at, is_private, is_standard, maker, scalar
from effc.compiler.passes.turns import BROADCAST, UNARY, perm_of
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
    merged = [f if o == _OPEN or isinstance(f, int) else o for o, f in zip(old or found, found, strict=True)]
    if old is not None and tuple(merged) == old:
        return False
    value.shape = ir.Shape([None if d == _OPEN else d for d in merged])
    return True


def _dims(node: ir.Node) -> Dims | None:
    if node.op_type in _ALIKE:
        return ir.shape(node.inputs[0])
    if node.op_type in BROADCAST:
        return _broadcast([ir.shape(v) for v in node.inputs if v is not None])
    return _RULES[node.op_type](node)


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


def _matmul(node: ir.Node) -> Dims | None:
    a, b = (ir.shape(v) for v in node.inputs)
    if a is None or b is None or len(a) < 2 or len(b) < 2:
        return None
    batch = _broadcast([a[:-2], b[:-2]])
    return None if batch is None else (*batch, a[-2], b[-1])


def _transpose(node: ir.Node) -> Dims | None:
    dims, perm = ir.shape(node.inputs[0]), perm_of(node)
    return None if dims is None or perm is None else tuple(dims[i] for i in perm)


def _reshape(node: ir.Node) -> Dims | None:
    """0 copies a dim; -1 is told where all else is the same on both sides."""
    wanted, dims = shapes.known(node.inputs[1]), ir.shape(node.inputs[0])
    if wanted is None or dims is None or ir.attr_int(node, "allowzero", 0):
        return None
    copied = [dims[i] if e == 0 and i < len(dims) else e for i, e in enumerate(wanted)]
    entries = shapes.without_wildcard(tuple(None if e == _OPEN else e for e in copied), dims)
    return tuple(_OPEN if e is None or e == -1 else e for e in entries)


def _batch(node: ir.Node) -> Dims | None:
    """Convolutions and pools keep the batch, which is all that is said of them here."""
    dims = ir.shape(node.inputs[0])
    return None if not dims else (dims[0], *[_OPEN] * (len(dims) - 1))


def _pad(node: ir.Node) -> Dims | None:
    """Axes that nothing is added to keep their dim."""
    dims, pads = ir.shape(node.inputs[0]), ir.const(input_at(node, 1))
    if dims is None or pads is None or input_at(node, 3) is not None:
        return None
    added = np.abs(pads).reshape(2, -1).sum(axis=0)
    return tuple(_OPEN if extra else dim for dim, extra in zip(dims, added, strict=True))


def _concat(node: ir.Node) -> Dims | None:
    """All axes but the one that is joined are those of any operand that tells them."""
    operands = [ir.shape(value) or () for value in node.inputs]
    if len({len(dims) for dims in operands}) != 1 or not operands[0]:
        return None
    joined = ir.attr_int(node, "axis", 0) % len(operands[0])
    told = [next((d for d in dims if d != _OPEN), _OPEN) for dims in zip(*operands, strict=True)]
    return tuple(_OPEN if axis == joined else dim for axis, dim in enumerate(told))


def shape_of_same(node: ir.Node) -> bool:
    """Shape(f(x)) is Shape(x) for an f of single elements that nothing else needs."""
    value = node.inputs[0]
    while value is not None and (inner := maker(value, *UNARY)) is not None and is_private(value):
        value = inner.inputs[0]
    changed = value is not node.inputs[0]
    if changed:
        node.replace_input_with(0, value)
    return changed


def size_of_input(model: ir.Model) -> bool:
    """Gather(Shape(x), i) of a dim that an input has as well is taken from the first input with it: computed once."""
    places: dict[Dim, tuple[ir.Value, int]] = {}
    for value in model.graph.inputs:
        for axis, dim in enumerate(ir.shape(value) or ()):
            places.setdefault(dim, (value, axis))
    shapes_of: dict[ir.Value, ir.Value] = {}
    changed = False
    for node in [n for n in model.graph if n.op_type == "Gather" and is_standard(n)]:
        found = _place(node, places)
        if found is not None:
            node.replace_input_with(0, _shape_of(model.graph, found[0], shapes_of))
            node.replace_input_with(1, constant(node, "axis", np.full(found[2], found[1], np.int64)))
            changed = True
    return changed and (ir.prune(model) or True)


def _place(node: ir.Node, places: Mapping[Dim, tuple[ir.Value, int]]) -> tuple[ir.Value, int, tuple[int, ...]] | None:
    """The input and axis that tell the dim, and the shape of the index; None where that is what is read already."""
    made, index = maker(node.inputs[0], "Shape"), ir.const(node.inputs[1])
    dims = None if made is None or made.attributes else ir.shape(made.inputs[0])
    if (
        made is None
        or dims is None
        or index is None
        or index.size != 1
        or not -len(dims) <= int(index.item()) < len(dims)
    ):
        return None
    dim = dims[int(index.item())]
    found = places.get(dim) if isinstance(dim, str) and dim != _OPEN else None
    if found is None or made.inputs[0] in (found[0], None) or made.inputs[0].is_graph_input():
        return None
    return (*found, index.shape)


def _shape_of(graph: ir.Graph, value: ir.Value, made: dict[ir.Value, ir.Value]) -> ir.Value:
    """The output of a Shape of an input, one for all that ask in this pass."""
    if value not in made:
        node = ir.node("Shape", [value])
        graph.insert_before(graph[0], node)
        made[value] = node.outputs[0]
        made[value].name = ir.fresh_name(graph, f"{value.name}_shape")
        made[value].type, made[value].shape = onnx_ir.TensorType(ir.DataType.INT64), ir.Shape([ir.rank(value)])
    return made[value]


_ALIKE = UNARY | {"Softmax", "LogSoftmax", "LayerNormalization", "LpNormalization", "RMSNormalization"}
_RULES: Mapping[str, Callable[[ir.Node], Dims | None]] = {
    **dict.fromkeys(("AveragePool", "Conv", "ConvTranspose", "MaxPool"), _batch),
    "Concat": _concat,
    "Expand": _expand,
    "Gather": _gather,
    "GatherElements": _elements,
    "MatMul": _matmul,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Slice": _slice,
    "Transpose": _transpose,
}

STEPS = (
    Step("shapes of the same sizes", each(shape_of_same, "Shape", "Size")),
    Step("sizes of inputs", size_of_input),
    Step("symbolic dims", each(name_dims, *_ALIKE, *BROADCAST, *_RULES)),
)
