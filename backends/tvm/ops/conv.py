"""Conv."""

from __future__ import annotations

import numpy as np

from effc.backends.tvm.ops.finish import finish
from effc.backends.tvm.ops.table import Form, Site, family
from effc.backends.tvm.plan.group import Group
from effc.backends.tvm.schedules.nest import Kernel
from effc.compiler import ir

_FEW = 4
"""Input channels up to which a convolution reads row-major images as they are."""


def _accepts(node: ir.Node) -> str | None:
    weight = ir.const(node.inputs[1])
    if weight is None:
        return "its weights are not constant"
    if weight.ndim != 4 or ir.static_shape_from(node.inputs[0], 1) is None:
        return "it is not two-dimensional with known sides"
    if ir.attr_int(node, "group", 1) != 1:
        return "it is grouped"
    return None


def _forms(node: ir.Node) -> tuple[Form, ...]:
    weight = ir.const(node.inputs[1])
    few = weight is not None and weight.shape[1] <= _FEW
    return (Form.ENTRY, Form.BLOCKED) if few else (Form.BLOCKED,)


@family("Conv", accepts=_accepts, forms=_forms)
def conv(group: Group, site: Site) -> Kernel:
    """A dense convolution."""
    from effc.backends.tvm.schedules.conv import Convolution, convolution
    from effc.backends.tvm.schedules.tiles import ranked

    node = group.anchor
    assert node is not None and node.inputs[0] is not None
    weight = np.asarray(ir.const(node.inputs[1]))
    bias = ir.const(node.inputs[2]) if len(node.inputs) > 2 else None
    shape = ir.shape(node.outputs[0]) or ()
    size = (int(shape[2]), int(shape[3]))
    strides, dilations = (_pair(node, name) for name in ("strides", "dilations"))
    work = Convolution(
        x=site.placed[node.inputs[0]],
        weight=weight,
        bias=np.zeros(weight.shape[0], np.float32) if bias is None else np.asarray(bias),
        strides=strides,
        dilations=dilations,
        pads=ir.attr_ints(node, "pads", (0, 0, 0, 0))[:2],  # type: ignore[arg-type]
        size=size,
    )
    lanes = site.cpu.lanes
    columns = size[0] * size[1] if work.pointwise else size[1]
    tiles = ranked(columns, -(-weight.shape[0] // lanes), site.cpu.registers)
    tile = site.choices.choose(work.words, tiles)
    return convolution(work, finish(group, site), tile, lanes)


def _pair(node: ir.Node, name: str) -> tuple[int, int]:
    vertical, horizontal = ir.attr_ints(node, name, (1, 1))
    return vertical, horizontal
