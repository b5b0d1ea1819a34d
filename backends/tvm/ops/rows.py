"""Softmax, LogSoftmax, LayerNormalization."""

from __future__ import annotations

import numpy as np

from effc.backends.tvm.ops.dense import of_floats, rows
from effc.backends.tvm.ops.finish import finish
from effc.backends.tvm.ops.table import Site, family
from effc.backends.tvm.plan.group import Group
from effc.backends.tvm.schedules.nest import Kernel
from effc.compiler import ir
from effc.compiler.passes.rewrite import input_at


def _accepts_softmax(node: ir.Node) -> str | None:
    dims = ir.static_shape_from(node.inputs[0], 1)
    if not of_floats(node) or ir.const(node.inputs[0]) is not None:
        return "it is not in float32 or float16"
    return "its dims are not known" if dims is None and ir.static_shape(node.inputs[0]) is None else None


def _axis(node: ir.Node) -> int:
    rank = len(ir.shape(node.inputs[0]) or ())
    return ir.attr_int(node, "axis", -1) % max(rank, 1)


@family("Softmax", "LogSoftmax", accepts=_accepts_softmax, forms=rows, strided=True)
def softmax(group: Group, site: Site) -> Kernel:
    """Along one axis."""
    from effc.backends.tvm.schedules.softmax import Softmax
    from effc.backends.tvm.schedules.softmax import softmax as schedule

    node = group.anchor
    assert node is not None and node.inputs[0] is not None
    work = Softmax(site.placed[node.inputs[0]], _axis(node), node.op_type == "LogSoftmax")
    return schedule(work, finish(group, site), site.cpu.lanes)


def _accepts_norm(node: ir.Node) -> str | None:
    if _axis(node) != len(ir.shape(node.inputs[0]) or ()) - 1:
        return "it normalizes over more than the last axis"
    if any(ir.const(v) is None for v in node.inputs[1:] if v is not None):
        return "its scale or bias is computed"
    if len(node.outputs) > 1:
        return "its mean or deviation is wanted"
    return _accepts_softmax(node)


@family("LayerNormalization", accepts=_accepts_norm, forms=rows, strided=True)
def layer_norm(group: Group, site: Site) -> Kernel:
    """Over the last axis."""
    from effc.backends.tvm.schedules.norm import LayerNorm
    from effc.backends.tvm.schedules.norm import layer_norm as schedule

    node = group.anchor
    assert node is not None and node.inputs[0] is not None
    size = int((ir.shape(node.inputs[0]) or (1,))[-1])
    scale, bias = (None if a is None else np.broadcast_to(a.ravel(), (size,)) for a in _constants(node))
    assert scale is not None
    work = LayerNorm(site.placed[node.inputs[0]], scale, bias, ir.attr_float(node, "epsilon", 1e-5))
    return schedule(work, finish(group, site), site.cpu.lanes)


def _constants(node: ir.Node) -> tuple[ir.Array | None, ir.Array | None]:
    return ir.const(node.inputs[1]), ir.const(input_at(node, 2))
