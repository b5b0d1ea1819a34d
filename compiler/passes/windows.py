"""Sliding windows made explicit: kernel_shape, strides, dilations, pads and group as numbers, no auto_pad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from effc.compiler import ir
from effc.compiler.passes.rewrite import input_at, replace

_CONVOLUTIONS = ("Conv", "ConvTranspose")
OPS = (*_CONVOLUTIONS, "MaxPool", "AveragePool", "LpPool")
_AUTOMATIC = frozenset({"auto_pad", "output_shape"})


@dataclass(frozen=True)
class Window:
    """Geometry of a convolution or pool, one number for each spatial axis; `pads` is begins, then ends."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]


def window(node: ir.Node) -> Window | None:
    """The node's geometry with every default filled in; None where kernel or automatic pads are not known."""
    kernel = _kernel(node)
    if kernel is None:
        return None
    ones = (1,) * len(kernel)
    strides, dilations = ir.attr_ints(node, "strides", ones), ir.attr_ints(node, "dilations", ones)
    pads = _pads(node, kernel, strides, dilations)
    return None if pads is None else Window(kernel, strides, dilations, pads)


def explicit(node: ir.Node) -> bool:
    """Write the geometry into the attributes.

    SAME pads, per axis: total = max((ceil(in / s) - 1) s + (k - 1) d + 1 - in, 0), for ConvTranspose
    (in - 1) s + output_padding + (k - 1) d + 1 - out, with out = in s or what `output_shape` says; the odd one goes
    to the end for SAME_UPPER (ONNX operator reference).
    """
    found = window(node)
    if found is None or len(node.outputs) > 1:
        return False
    wanted: dict[str, object] = {
        "kernel_shape": found.kernel,
        "strides": found.strides,
        "dilations": found.dilations,
        "pads": found.pads,
    }
    if node.op_type in _CONVOLUTIONS:
        wanted["group"] = ir.attr_int(node, "group", 1)
    if not _AUTOMATIC & node.attributes.keys() and wanted.keys() <= node.attributes.keys():
        return False
    kept = {k: v for k, v in node.attributes.items() if k not in wanted and k not in _AUTOMATIC}
    return replace(node, node.op_type, list(node.inputs), {**kept, **wanted})


def _kernel(node: ir.Node) -> tuple[int, ...] | None:
    if "kernel_shape" in node.attributes:
        return ir.attr_ints(node, "kernel_shape", ())
    weight = ir.static_shape(input_at(node, 1)) if node.op_type in _CONVOLUTIONS else None
    return None if weight is None else weight[2:]


def _pads(
    node: ir.Node, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[int, ...] | None:
    mode = ir.attr_str(node, "auto_pad", "NOTSET")
    none = (0,) * (2 * len(kernel))
    if mode in ("NOTSET", "VALID") and "output_shape" not in node.attributes:
        return ir.attr_ints(node, "pads", none) if mode == "NOTSET" else none
    totals = [_total(node, axis, kernel[axis], strides[axis], dilations[axis]) for axis in range(len(kernel))]
    known = [t for t in totals if t is not None]
    if len(known) < len(totals) or ir.attr_int(node, "ceil_mode", 0):
        return None
    small, large = [t // 2 for t in known], [t - t // 2 for t in known]
    return (*small, *large) if mode == "SAME_UPPER" else (*large, *small)


def _total(node: ir.Node, axis: int, kernel: int, stride: int, dilation: int) -> int | None:
    extent = (kernel - 1) * dilation + 1
    dims = ir.shape(node.inputs[0])
    size = None if dims is None else dims[axis + 2]
    if node.op_type == "ConvTranspose":
        total = extent - stride + ir.attr_ints(node, "output_padding", (0,) * (axis + 1))[axis]
        if "output_shape" in node.attributes:
            if not isinstance(size, int):
                return None
            total += size * stride - node.attributes["output_shape"].as_ints()[axis - len(dims or ()) + 2]
        return total if total >= 0 else None
    if isinstance(size, int):
        return max((-(-size // stride) - 1) * stride + extent - size, 0)
    return extent - 1 if stride == 1 else None
