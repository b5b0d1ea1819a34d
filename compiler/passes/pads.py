"""A Pad before a sliding window goes into the window's own pads."""

from __future__ import annotations

import numpy as np

from effc.compiler import ir
from effc.compiler.passes.rewrite import input_at, maker, replace, scalar
from effc.compiler.passes.windows import Window, window


def into_window(node: ir.Node) -> bool:
    """Conv(Pad(x, p)) is Conv(x, pads + p) for zeros on spatial axes.

    MaxPool takes a Pad of the lowest value there is. AveragePool takes zeros if it then counts padded elements, which
    is the same only while it pads nothing itself or counts it already.
    """
    pad, found = maker(node.inputs[0], "Pad"), window(node)
    if pad is None or found is None or ir.attr_str(node, "auto_pad", "NOTSET") != "NOTSET":
        return False
    extra = _spatial_pads(pad, len(found.kernel))
    if extra is None or not _is_neutral(pad, node) or ir.attr_int(node, "ceil_mode", 0) or len(node.outputs) > 1:
        return False
    pads = tuple(a + b for a, b in zip(found.pads, extra, strict=True))
    changes: dict[str, object] = {"pads": pads}
    if node.op_type == "AveragePool":
        if any(found.pads) and not ir.attr_int(node, "count_include_pad", 0):
            return False
        changes["count_include_pad"] = 1
    if node.op_type != "Conv" and not _fits(pads, found):
        return False
    return replace(node, node.op_type, [pad.inputs[0], *node.inputs[1:]], {**node.attributes, **changes})


def _spatial_pads(pad: ir.Node, spatial: int) -> tuple[int, ...] | None:
    """Begins and ends on spatial axes, where the Pad touches no other and cuts nothing off."""
    amounts, axes_value = ir.const(input_at(pad, 1)), input_at(pad, 3)
    rank = spatial + 2
    axes = np.arange(rank) if axes_value is None else ir.const(axes_value)
    if ir.attr_str(pad, "mode", "constant") != "constant" or amounts is None or axes is None:
        return None
    full = np.zeros((2, rank), np.int64)
    full[:, axes] = amounts.reshape(2, -1)
    if full[:, :2].any() or (full < 0).any():
        return None
    return tuple(int(p) for p in full[:, 2:].ravel())


def _is_neutral(pad: ir.Node, node: ir.Node) -> bool:
    value = input_at(pad, 2)
    number = 0.0 if value is None else scalar(value)
    if node.op_type != "MaxPool":
        return number == 0.0
    dtype = node.outputs[0].dtype
    return number is not None and dtype is not None and number <= float(dtype.min)


def _fits(pads: tuple[int, ...], found: Window) -> bool:
    """Runtimes refuse pools whose pad is as large as the kernel."""
    return all(p < k for p, k in zip(pads, found.kernel * 2, strict=True))
