"""MaxPool, AveragePool, the global pools, reductions over whole images."""

from __future__ import annotations

from effc.backends.tvm.ops.finish import finish
from effc.backends.tvm.ops.geometry import FLOATS, axis, flat, is_of, sides
from effc.backends.tvm.ops.reduce import axes, over_rows
from effc.backends.tvm.ops.table import Form, Site, family
from effc.backends.tvm.plan.group import Group
from effc.backends.tvm.schedules.nest import Kernel
from effc.compiler import ir

_KINDS = {
    "GlobalAveragePool": "mean",
    "GlobalMaxPool": "max",
    "ReduceMean": "mean",
    "ReduceMax": "max",
    "ReduceSum": "sum",
}


def _accepts(node: ir.Node) -> str | None:
    if len([v for v in node.outputs if v.name]) > 1:
        return "the places of the largest values are wanted"
    if not is_of(node.inputs[0], *FLOATS, *(("int8", "uint8") if node.op_type == "MaxPool" else ())):
        return "it is neither of floats nor of bytes"
    return flat(node) or _one_channel(node)


def _one_channel(node: ir.Node) -> str | None:
    return "it has one channel" if (ir.shape(node.inputs[0]) or ())[1] == 1 else None


@family("MaxPool", "AveragePool", accepts=_accepts, forms=lambda node: (Form.BLOCKED,))
def pool(group: Group, site: Site) -> Kernel:
    """The largest value, or the mean, of each window."""
    from effc.backends.tvm.schedules.slide import Average, Maximum, Sliding, slide

    node = group.anchor
    assert node is not None and node.inputs[0] is not None
    x = site.placed[node.inputs[0]]
    given = sides(node, ir.attr_ints(node, "kernel_shape", ()))
    rows, columns = (axis(side) for side in given)
    padding = (given[0].after, given[1].after) if ir.attr_int(node, "count_include_pad", 0) else None
    average = Average(x.dtype, x.block, rows, columns, padding)
    rule = average if node.op_type == "AveragePool" else Maximum(x.dtype, x.block)
    return slide(Sliding(x, rows, columns), rule, finish(group, site), site.cpu.registers)


def _accepts_whole(node: ir.Node) -> str | None:
    shape = ir.shape(node.inputs[0]) or ()
    if len(shape) < 3 or not all(isinstance(d, int) and d > 0 for d in shape[1:]):
        return "its image's sides are not known"
    if not is_of(node.inputs[0], *FLOATS):
        return "it is neither float32 nor float16"
    if len(shape) == 3 and not node.op_type.startswith("Global"):
        return "it may be a sequence"
    if not node.op_type.startswith("Global") and axes(node) != tuple(range(2, len(shape))):
        return "it reduces other axes than an image's"
    return _one_channel(node)


def _forms_whole(node: ir.Node) -> tuple[Form, ...]:
    blocked = Form.BLOCKED if len(ir.shape(node.outputs[0]) or ()) > 2 else Form.EXIT
    return (blocked, Form.ROWS)


@family(*_KINDS, accepts=_accepts_whole, forms=_forms_whole, strided=True)
def whole(group: Group, site: Site) -> Kernel:
    """The mean, the sum or the largest value of each channel's image."""
    from effc.backends.tvm.schedules.spatial import spatial

    node = group.anchor
    assert node is not None and node.inputs[0] is not None
    if site.form is Form.ROWS:
        return over_rows(group, site)
    return spatial(site.placed[node.inputs[0]], _KINDS[node.op_type], finish(group, site))  # type: ignore[arg-type]
