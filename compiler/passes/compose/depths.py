"""Channels laid out in space and back, written as Reshape, Transpose, Reshape: DepthToSpace and SpaceToDepth."""

from __future__ import annotations

from collections.abc import Callable

from effc.compiler import ir
from effc.compiler.passes.rewrite import each, is_private, maker, replace
from effc.compiler.passes.turns import Perm, perm_of
from effc.compiler.phase import Step

Dims = tuple[int | str, ...]
_RANK, _SPLIT_RANK = 4, 6


def depth_to_space(node: ir.Node) -> bool:
    """Reshape(Transpose(Reshape(x))) that moves blocks of channels into rows and columns, or the other way round."""
    turn = maker(node.inputs[0], "Transpose")
    split = None if turn is None else maker(turn.inputs[0], "Reshape")
    if turn is None or split is None or not (is_private(turn.outputs[0]) and is_private(split.outputs[0])):
        return False
    x = split.inputs[0]
    before, parts, after = ir.shape(x), ir.shape(split.outputs[0]), ir.shape(node.outputs[0])
    if before is None or parts is None or after is None or x is None or x.dtype != ir.DataType.FLOAT:
        return False
    form = _FORMS.get(perm_of(turn) or ())
    if form is None or (len(before), len(parts), len(after)) != (_RANK, _SPLIT_RANK, _RANK) or "?" in parts:
        return False
    op, attributes, read = form
    block, given, wanted = read(parts)
    sound = 0 not in parts and given == before and _agree(after, wanted)
    return sound and isinstance(block, int) and replace(node, op, [x], {"blocksize": block, **attributes})


def _agree(after: Dims, wanted: Dims) -> bool:
    """Whether all dims but one are known to be those that are wanted; the last one follows."""
    return sum(a == w != "?" for a, w in zip(after, wanted, strict=True)) >= _RANK - 1


def _times(*dims: int | str) -> int | str:
    product = 1
    for dim in dims:
        if not isinstance(dim, int):
            return "?"
        product *= dim
    return product


Reading = tuple[int | str, Dims, Dims]
"""The block's size, the dims before and those after; "?" for the block where it is not square."""


def _blocks_first(parts: Dims) -> Reading:
    batch, rows, columns, channels, height, width = parts
    return _spread(parts, (rows, columns), (batch, channels, height, width))


def _channels_first(parts: Dims) -> Reading:
    batch, channels, rows, columns, height, width = parts
    return _spread(parts, (rows, columns), (batch, channels, height, width))


def _spread(parts: Dims, block: Dims, rest: Dims) -> Reading:
    (rows, columns), (batch, channels, height, width) = block, rest
    before = (batch, _times(*parts[1:4]), height, width)
    return rows if rows == columns else "?", before, (batch, channels, _times(height, rows), _times(width, columns))


def _gathered(parts: Dims) -> Reading:
    batch, channels, height, rows, width, columns = parts
    before = (batch, channels, _times(height, rows), _times(width, columns))
    return rows if rows == columns else "?", before, (batch, _times(rows, columns, channels), height, width)


_FORMS: dict[Perm, tuple[str, dict[str, str], Callable[[Dims], Reading]]] = {
    (0, 3, 4, 1, 5, 2): ("DepthToSpace", {"mode": "DCR"}, _blocks_first),
    (0, 1, 4, 2, 5, 3): ("DepthToSpace", {"mode": "CRD"}, _channels_first),
    (0, 3, 5, 1, 2, 4): ("SpaceToDepth", {}, _gathered),
}

STEPS = (Step("depth and space", each(depth_to_space, "Reshape"), since=11),)
"""DepthToSpace has its modes since opset 11."""
