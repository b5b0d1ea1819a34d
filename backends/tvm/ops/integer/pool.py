"""Averages of bytes."""

from __future__ import annotations

from effc.backends.tvm.ops.finish import finish
from effc.backends.tvm.ops.geometry import flat, sides
from effc.backends.tvm.ops.integer.conv import window
from effc.backends.tvm.ops.reduce import axes
from effc.backends.tvm.ops.table import INTEGER, Form, Site, family
from effc.backends.tvm.plan import affine
from effc.backends.tvm.plan.group import Group
from effc.backends.tvm.schedules.nest import Kernel
from effc.compiler import ir


def _blocked(node: ir.Node) -> tuple[Form, ...]:
    del node
    return (Form.BLOCKED,)


def _accepts(node: ir.Node) -> str | None:
    dims = ir.shape(node.inputs[0]) or ()
    if affine.activation(node.inputs[0]) is None:
        return "it does not read bytes"
    if len(dims) != 4 or not all(isinstance(d, int) for d in dims[1:]) or dims[1] == 1:
        return "it is not two-dimensional with known sides"
    if node.op_type == "ReduceMean":
        return None if axes(node) == (2, 3) else "it is not over the image"
    if node.op_type == "AveragePool" and (flat(node) or ir.rank(node.outputs[0]) != 4):
        return "it is not two-dimensional with known sides"
    if ir.attr_int(node, "ceil_mode", 0) and ir.attr_int(node, "count_include_pad", 0):
        return "its last windows leave the padding"
    return None


@family("AveragePool", "GlobalAveragePool", "ReduceMean", accepts=_accepts, forms=_blocked, table=INTEGER)
def average(group: Group, site: Site) -> Kernel:
    """Over windows, or over the whole image."""
    from effc.backends.tvm.schedules.integer.average import Average, average_pool
    from effc.backends.tvm.schedules.integer.window import Window

    node = group.anchor
    assert node is not None
    source = affine.activation(node.inputs[0])
    assert source is not None
    if node.op_type == "AveragePool":
        taps = ir.attr_ints(node, "kernel_shape", ())
        over = window(sides(node, taps))
    else:
        image = tuple(int(d) for d in (ir.shape(node.inputs[0]) or ())[2:])
        over = Window((image[0], image[1]), (1, 1), (1, 1), (0, 0), (image[0], image[1]), (1, 1))
    everything = bool(ir.attr_int(node, "count_include_pad", 0))
    work = Average(site.placed[source.stored], int(source.zero.item()), float(source.scale.item()), over, everything)
    return average_pool(work, finish(group, site), site.cpu.lanes)
