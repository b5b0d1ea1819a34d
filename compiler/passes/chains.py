"""Chains of Concat, Slice, Split, Gather and Expand: one op where two do, none where they undo each other."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace as changed

import numpy as np

from effc.compiler import ir
from effc.compiler.edit import Before
from effc.compiler.passes.rewrite import bypass, constant, each, input_at, is_private, maker, replace, same_shape
from effc.compiler.passes.turns import BROADCAST
from effc.compiler.phase import Step

FAR = np.iinfo(np.int64).max


def concat_of_concat(node: ir.Node) -> bool:
    """Concat(Concat(a, b), c) along one axis is Concat(a, b, c)."""
    parts: list[ir.Value | None] = []
    for value in node.inputs:
        inner = maker(value, "Concat")
        fits = inner is not None and value is not None and is_private(value) and _axis(inner) == _axis(node)
        parts += inner.inputs if inner is not None and fits else [value]
    return len(parts) > len(node.inputs) and replace(node, "Concat", parts, node.attributes)


def _axis(node: ir.Node) -> int:
    axis = ir.attr_int(node, "axis", 0)
    return axis % max(1, ir.rank(node.outputs[0]))


def concat_of_split(node: ir.Node) -> bool:
    """Concat(Split(x)) of all parts in order along the same axis is x."""
    split = maker(node.inputs[0], "Split")
    if split is None or list(node.inputs) != list(split.outputs) or split.inputs[0] is None:
        return False
    return ir.attr_int(split, "axis", 0) % max(1, ir.rank(split.inputs[0])) == _axis(node) and bypass(
        node, split.inputs[0]
    )


# slices


@dataclass(frozen=True)
class Cut:
    """x[start:end:step] along one axis; start, end >= 0 where the dim is known."""

    start: int
    end: int
    step: int


def cuts(node: ir.Node) -> dict[int, Cut] | None:
    """A Slice by constants, by axis; axes that it leaves whole are left out."""
    rank, dims = ir.rank(node.inputs[0]), ir.shape(node.inputs[0])
    given = [ir.const(input_at(node, i)) for i in range(1, 5)]
    missing = any(a is None and input_at(node, i + 1) is not None for i, a in enumerate(given))
    starts, ends, axes, steps = given
    if starts is None or ends is None or missing or dims is None:
        return None
    names = np.arange(starts.size) if axes is None else axes
    strides = np.ones(starts.size, np.int64) if steps is None else steps
    found = {}
    for a, *numbers in zip(names.ravel(), starts.ravel(), ends.ravel(), strides.ravel(), strict=True):
        axis = int(a) % rank
        cut = _plain(Cut(*(int(n) for n in numbers)), dims[axis])
        if cut != Cut(0, _end(dims[axis]), 1):
            found[axis] = cut
    return found


def _end(dim: int | str) -> int:
    return dim if isinstance(dim, int) else FAR


def _plain(cut: Cut, dim: int | str) -> Cut:
    """Counted from the start and inside the dim, where that is known and the step positive."""
    if cut.step < 1:
        return cut
    if isinstance(dim, int):
        start, end, _ = slice(cut.start, cut.end, cut.step).indices(dim)
        return Cut(start, max(start, end), cut.step)
    return cut if cut.end < np.iinfo(np.int32).max else changed(cut, end=FAR)


def slice_chain(node: ir.Node) -> bool:
    """x[a][b] is one Slice, where each axis is cut by one of both alone or the second cut lies in the first."""
    inner = maker(node.inputs[0], "Slice")
    first, second = None if inner is None else cuts(inner), cuts(node)
    if inner is None or first is None or second is None:
        return False
    joined = dict(first)
    for axis, cut in second.items():
        both = _joined(first[axis], cut) if axis in first else cut
        if both is None:
            return False
        joined[axis] = both
    return _sliced(node, inner.inputs[0], joined)


def _joined(a: Cut, b: Cut) -> Cut | None:
    """x[a][b] as one cut: a.start + b * a.step for steps of a, ends the nearer of both."""
    if min(a.start, b.start, a.end, b.end) < 0 or min(a.step, b.step) < 1:
        return None
    end = a.end if b.end == FAR else min(a.end, a.start + b.end * a.step)
    return Cut(a.start + b.start * a.step, end, a.step * b.step)


def _sliced(node: ir.Node, x: ir.Value | None, wanted: dict[int, Cut]) -> bool:
    if not wanted:
        return x is not None and bypass(node, x)
    axes = sorted(wanted)
    columns = {
        "starts": [wanted[a].start for a in axes],
        "ends": [wanted[a].end for a in axes],
        "axes": axes,
        "steps": [wanted[a].step for a in axes],
    }
    last = 4 if any(wanted[a].step != 1 for a in axes) else 3
    arrays = [constant(node, name, np.array(column, np.int64)) for name, column in list(columns.items())[:last]]
    return replace(node, "Slice", [x, *arrays])


def slice_of_concat(node: ir.Node) -> bool:
    """A Slice of a Concat that gives back one of its parts is that part."""
    concat, found = maker(node.inputs[0], "Concat"), cuts(node)
    if concat is None or found is None or list(found) != [_axis(concat)]:
        return False
    axis, begin = _axis(concat), 0
    wanted = found[axis]
    for part in concat.inputs:
        dims = ir.shape(part)
        size = None if dims is None else dims[axis]
        if part is None or not isinstance(size, int):
            return False
        if wanted == Cut(begin, begin + size, 1):
            return bypass(node, part)
        begin += size
    return False


def slices_to_split(node: ir.Node) -> bool:
    """x[:a], x[a:b], ..., x[y:] along one axis, all there is of x, are Split(x).

    `node` is the first of the Slices.
    """
    x, found = node.inputs[0], cuts(node)
    if x is None or found is None or len(found) != 1:
        return False
    ((axis, first),) = found.items()
    dims = ir.shape(x)
    if dims is None or not isinstance(dims[axis], int) or first.start or first.step != 1:
        return False
    parts = _partition(x, axis, dims[axis])
    if parts is None or len(parts) < 2:
        return False
    return _split(x, axis, parts)


def _partition(x: ir.Value, axis: int, dim: int | str) -> list[tuple[ir.Node, int]] | None:
    """The Slices of x along the axis alone, with their sizes, in order, where they cover it without overlap."""
    pieces: dict[int, tuple[ir.Node, Cut]] = {}
    for use in x.uses():
        cut = cuts(use.node) if use.node.op_type == "Slice" and use.idx == 0 and use.node.graph is x.graph else None
        if cut is not None and list(cut) == [axis] and cut[axis].step == 1:
            pieces.setdefault(cut[axis].start, (use.node, cut[axis]))
    position, parts = 0, []
    while position in pieces and position != dim:
        piece, cut_here = pieces[position]
        if cut_here.end <= position:
            return None
        parts.append((piece, cut_here.end - position))
        position = cut_here.end
    return parts if position == dim else None


def _split(x: ir.Value, axis: int, parts: list[tuple[ir.Node, int]]) -> bool:
    import onnx_ir

    first, graph, maker_of_x = parts[0][0], x.graph, x.producer()
    sizes = constant(first, "split", np.array([size for _, size in parts], np.int64))
    attributes = onnx_ir.convenience.convert_attributes({"axis": axis})
    made = ir.Node("", "Split", [x, sizes], attributes, num_outputs=len(parts))
    if not isinstance(graph, ir.Graph):
        return False
    if maker_of_x is None:
        graph.insert_before(graph[0], made)
    else:
        graph.insert_after(maker_of_x, made)
    for (node, _), value in zip(parts, made.outputs, strict=True):
        old = node.outputs[0]
        name, value.shape, value.type = old.name, old.shape, old.type
        old.name = ir.fresh_name(graph, f"{name}__replaced")
        onnx_ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
        value.name = name
    ir.remove(graph, [node for node, _ in parts])
    return True


def space_to_depth(node: ir.Node) -> bool:
    """All four x[..., i::2, j::2], side by side as channels, are SpaceToDepth(x) with its blocks in another order."""
    slices = [maker(v, "Slice") for v in node.inputs]
    x, dims = (None, None) if slices[0] is None else (slices[0].inputs[0], ir.shape(slices[0].inputs[0]))
    if _axis(node) != 1 or len(slices) != 4 or x is None or dims is None or len(dims) != 4:
        return False
    blocks = [None if s is None or s.inputs[0] is not x else _block(cuts(s), dims) for s in slices]
    channels = dims[1]
    if (
        any(b is None for b in blocks)
        or sorted(b or 0 for b in blocks) != [0, 1, 2, 3]
        or not isinstance(channels, int)
    ):
        return False
    if not all(v is not None and is_private(v) for v in node.inputs):
        return False
    before = Before(node)
    folded = before.op("SpaceToDepth", x, blocksize=2)
    order = np.concatenate([np.arange(channels) + (b or 0) * channels for b in blocks])
    if np.array_equal(order, np.arange(4 * channels)):
        return before.replace(folded)
    return replace(node, "Gather", [folded, constant(node, "order", order.astype(np.int64))], {"axis": 1})


def _block(found: dict[int, Cut] | None, dims: tuple[int | str, ...]) -> int | None:
    """The number 2 i + j of x[:, :, i::2, j::2] for even dims."""
    if found is None or sorted(found) != [2, 3]:
        return None
    for axis, cut in found.items():
        dim = dims[axis]
        if not isinstance(dim, int) or dim % 2 or cut.step != 2 or cut.start not in (0, 1) or cut.end < dim:
            return None
    return 2 * found[2].start + found[3].start


# expansions


def needless_expand(node: ir.Node) -> bool:
    """f(Expand(x), y) is f(x, y) for element-wise f that broadcasts, where the other operands have that shape."""
    done = False
    for slot, value in enumerate(node.inputs):
        expand = maker(value, "Expand")
        if expand is None or value is None or expand.inputs[0] is None:
            continue
        others = [v for i, v in enumerate(node.inputs) if i != slot and v is not None and v is not value]
        if any(same_shape(other, node.outputs[0]) for other in others):
            node.replace_input_with(slot, expand.inputs[0])
            done = True
    return done


STEPS = (
    Step("concats of concats", each(concat_of_concat, "Concat")),
    Step("concats of splits", each(concat_of_split, "Concat")),
    Step("slices of slices", each(slice_chain, "Slice")),
    Step("slices of concats", each(slice_of_concat, "Slice")),
    Step("needless expansions", each(needless_expand, *BROADCAST)),
)
LATE_STEPS = (
    Step("space to depth", each(space_to_depth, "Concat")),
    Step("slices to splits", each(slices_to_split, "Slice")),
)
