"""Resize, Pad and Concat of images in channel blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from effc.backends.tvm.ops.finish import finish
from effc.backends.tvm.ops.geometry import FLOATS, flat, is_of
from effc.backends.tvm.ops.table import Form, Site, family
from effc.backends.tvm.plan.group import Group
from effc.backends.tvm.plan.resize import coordinates, is_plain, nearest, scale, sizes
from effc.backends.tvm.schedules.nest import Kernel
from effc.compiler import ir
from effc.compiler.passes.rewrite import input_at

Index = NDArray[np.int64]
_KINDS = (*FLOATS, "int8", "uint8")
"""Element types that may be moved; all but the first are bytes."""

if TYPE_CHECKING:
    from effc.backends.tvm.schedules.sample import Places


def _forms(node: ir.Node) -> tuple[Form, ...]:
    del node
    return (Form.BLOCKED,)


def _accepts(node: ir.Node) -> str | None:
    shape = ir.shape(node.inputs[0]) or ()
    bytes_too = node.op_type == "Resize" and ir.attr_str(node, "mode", "nearest") == "nearest"
    if not is_of(node.inputs[0], *(_KINDS if bytes_too else FLOATS)):
        return "it is neither of floats nor of bytes"
    if any(v is not None and ir.const(v) is None for v in node.inputs[1:]):
        return "its parameters are not constant"
    made = ir.shape(node.outputs[0]) or ()
    return flat(node) or ("it is not an image of several channels" if shape[1] == 1 or shape[:2] != made[:2] else None)


def _accepts_resize(node: ir.Node) -> str | None:
    if ir.attr_str(node, "mode", "nearest") not in ("nearest", "linear"):
        return "it is neither nearest nor linear"
    return _accepts(node) or (None if is_plain(node) else "it crops, smooths, or keeps the aspect ratio")


@family("Resize", accepts=_accepts_resize, forms=_forms)
def resize(group: Group, site: Site) -> Kernel:
    """Each output from the nearest input, or from its neighbours by distance."""
    from effc.backends.tvm.schedules.sample import identity, sample

    node = group.anchor
    assert node is not None and node.inputs[0] is not None
    x = site.placed[node.inputs[0]]
    ends = [_side(node, axis) for axis in range(2, len(x.shape))]
    rows, columns = ends if len(ends) == 2 else (identity(1), ends[0])
    return sample(x, rows, columns, finish(group, site))


def _side(node: ir.Node, axis: int) -> Places:
    """Where the outputs of an axis come from."""
    from effc.backends.tvm.schedules.sample import Places, identity

    extent, size = sizes(node, axis)
    if size == extent and scale(node, axis) == 1:
        return identity(size)
    if ir.attr_str(node, "mode", "nearest") == "nearest":
        return Places(nearest(node, axis))
    at = np.clip(coordinates(node, axis), 0, extent - 1)
    low = np.floor(at).astype(np.int32)
    return Places(low, np.minimum(low + 1, extent - 1), (at - low).astype(np.float32))


def _accepts_pad(node: ir.Node) -> str | None:
    reason = _accepts(node)
    if reason is not None:
        return reason
    before, after = _pads(node)
    negative = bool((before < 0).any() or (after < 0).any())
    if before[:2].any() or after[:2].any() or (negative and ir.attr_str(node, "mode", "constant") != "constant"):
        return "it pads other axes than an image's"
    return None


def _pads(node: ir.Node) -> tuple[Index, Index]:
    """Padding before and after, for each axis."""
    rank = len(ir.shape(node.inputs[0]) or ())
    given = np.asarray(ir.const(node.inputs[1])).reshape(2, -1)
    axes = ir.const(node.inputs[3]) if input_at(node, 3) is not None else np.arange(rank)
    full = np.zeros((2, rank), np.int64)
    full[:, np.asarray(axes) % rank] = given
    return full[0], full[1]


@family("Pad", accepts=_accepts_pad, forms=_forms)
def pad(group: Group, site: Site) -> Kernel:
    """Pixels in front and behind: one value, or the image's own pixels again."""
    from effc.backends.tvm.schedules.sample import identity, sample

    node = group.anchor
    assert node is not None and node.inputs[0] is not None
    x, (before, after) = site.placed[node.inputs[0]], _pads(node)
    mode = ir.attr_str(node, "mode", "constant")
    ends = [_padded(int(x.shape[a]), int(before[a]), int(after[a]), mode) for a in range(2, len(x.shape))]
    rows, columns = ends if len(ends) == 2 else (identity(1), ends[0])
    value = ir.const(input_at(node, 2))
    return sample(x, rows, columns, finish(group, site), 0.0 if value is None else float(np.asarray(value).item()))


def _padded(extent: int, before: int, after: int, mode: str) -> Places:
    from effc.backends.tvm.schedules.sample import Places

    if mode == "constant":
        place = np.arange(-before, extent + after)
        return Places(np.where((place < 0) | (place >= extent), -1, place).astype(np.int32))
    place = np.arange(extent)
    match mode:
        case "edge":
            return Places(np.pad(place, (before, after), "edge").astype(np.int32))
        case "wrap":
            return Places(np.pad(place, (before, after), "wrap").astype(np.int32))
        case _:
            return Places(np.pad(place, (before, after), "reflect").astype(np.int32))


def _accepts_concat(node: ir.Node) -> str | None:
    rank = len(ir.shape(node.outputs[0]) or ())
    if rank != 4 or ir.attr_int(node, "axis", 1) % rank != 1:
        return "it does not join an image's channels"
    if any(v is None or ir.const(v) is not None or (ir.shape(v) or (0, 1))[1] == 1 for v in node.inputs):
        return "a part is constant, or of one channel"
    if not all(is_of(v, *_KINDS) for v in node.inputs):
        return "it is neither of floats nor of bytes"
    reasons = [flat(node), *(None if isinstance((ir.shape(v) or ())[1], int) else "unknown" for v in node.inputs)]
    return next((reason for reason in reasons if reason), None)


@family("Concat", accepts=_accepts_concat, forms=_forms)
def concat(group: Group, site: Site) -> Kernel:
    """Channels one after the other."""
    from effc.backends.tvm.schedules.concat import concat as schedule

    node = group.anchor
    assert node is not None
    return schedule([site.placed[v] for v in node.inputs if v is not None], finish(group, site))
