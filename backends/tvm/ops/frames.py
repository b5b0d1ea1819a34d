"""Convolutions of a signal of one channel with long kernels, such as Fourier transforms of its frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from effc.backends.tvm.ops.dense import rows, scheduled
from effc.backends.tvm.ops.finish import finish
from effc.backends.tvm.ops.geometry import FLOATS
from effc.backends.tvm.ops.table import Site, family
from effc.backends.tvm.plan.group import Group
from effc.backends.tvm.plan.placed import Placed
from effc.backends.tvm.plan.views import row_major
from effc.backends.tvm.schedules.nest import Kernel
from effc.compiler import ir
from effc.compiler.passes.rewrite import input_at

_LONG = 16
"""Taps from which on a kernel is long."""


def of_frames(node: ir.Node) -> str | None:
    """Why the node is no product of frames."""
    weight, dims = ir.const(node.inputs[1]), ir.shape(node.inputs[0]) or ()
    if weight is None or weight.dtype not in FLOATS or weight.ndim not in (3, 4) or weight.shape[-1] < _LONG:
        return "its kernel is not long"
    if (
        ir.static_shape_from(node.inputs[0], 1) is None
        or dims[1] != 1
        or weight.shape[1:-1] != (1,) * (weight.ndim - 2)
    ):
        return "it has several channels or rows"
    if any(d != 1 for d in dims[2:-1]) or any(ir.attr_ints(node, "pads", ())) or node.op_type != "Conv":
        return "it has several rows or is padded"
    if set(ir.attr_ints(node, "dilations", ())) - {1} or ir.attr_str(node, "auto_pad", "NOTSET") not in (
        "NOTSET",
        "VALID",
    ):
        return "it is dilated or padded"
    bias = input_at(node, 2)
    return "its bias is computed" if bias is not None and ir.const(bias) is None else None


@family("Conv", accepts=of_frames, forms=rows, strided=True)
def frames(group: Group, site: Site) -> Kernel:
    """`out[n, o, t] = sum over k of x[n, t * stride + k] * w[o, k]`: overlapping frames by kernels."""
    from effc.backends.tvm.schedules.gemm import Product

    node = group.anchor
    assert node is not None and node.inputs[0] is not None
    weight = np.asarray(ir.const(node.inputs[1]))
    bias = ir.const(input_at(node, 2))
    step = ir.attr_ints(node, "strides", (1,))[-1]
    count = int((ir.shape(node.outputs[0]) or (0,))[-1])
    rank = weight.ndim
    order = (0, *range(2, rank), 1)  # output channels last
    kernels = weight.reshape(weight.shape[0], -1).T
    work = Product(_framed(site.placed[node.inputs[0]], step, (count, weight.shape[-1])), kernels, bias)
    return scheduled(work, finish(group, site).permuted(order), site)


def _framed(x: Placed, step: int, frames: tuple[int, int]) -> Placed:
    """(N, .., 1, L) as (N, .., frames, length)."""
    strides = x.strides or row_major(x.shape) or ()
    shape = (x.shape[0], *x.shape[2:-1], *frames)
    kept = (strides[0], *strides[2:-1], step * strides[-1], strides[-1])
    return replace(x, shape=shape, strides=kept, base=x.memory)
