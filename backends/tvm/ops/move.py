"""Gather, Concat, Pad."""

from __future__ import annotations

import numpy as np

from effc.backends.tvm.ops.dense import rows
from effc.backends.tvm.ops.finish import finish
from effc.backends.tvm.ops.table import Site, family
from effc.backends.tvm.plan.group import Group
from effc.backends.tvm.plan.placed import Placed
from effc.backends.tvm.schedules.nest import Kernel
from effc.compiler import ir
from effc.compiler.passes.rewrite import input_at


def _axis(node: ir.Node) -> int:
    return ir.attr_int(node, "axis", 0) % max(1, ir.rank(node.inputs[0]))


def _known(*values: ir.Value | None) -> str | None:
    """Why the values cannot be read: all dims but the first must be numbers."""
    for value in values:
        dims = ir.shape(value)
        if value is None or dims is None or any(not isinstance(d, int) or d < 1 for d in (*dims[1:], *dims[-1:])):
            return "its dims are not known"
        if str(ir.numpy_dtype(value)) not in ("float32", "float16", "int64", "int32", "int8", "uint8"):
            return "it is not of numbers"
    return None


def _source(value: ir.Value | None, site: Site) -> Placed | ir.Array:
    assert value is not None
    constant = ir.const(value)
    return site.placed[value] if constant is None else constant


def _accepts_gather(node: ir.Node) -> str | None:
    dims = ir.shape(node.inputs[0]) or ()
    if not dims or not isinstance(dims[_axis(node)], int):
        return "the axis's size is not known"
    return _known(*node.inputs[:2])


@family("Gather", accepts=_accepts_gather, forms=rows, strided=True)
def gather(group: Group, site: Site) -> Kernel:
    """Along one axis."""
    from effc.backends.tvm.schedules.move import Gathering
    from effc.backends.tvm.schedules.move import gather as schedule

    node = group.anchor
    assert node is not None
    work = Gathering(_source(node.inputs[0], site), _source(node.inputs[1], site), _axis(node))
    return schedule(work, finish(group, site), site.cpu.lanes)


def _accepts_concat(node: ir.Node) -> str | None:
    axis = _axis(node)
    if any(not isinstance((ir.shape(v) or ("?",) * (axis + 1))[axis], int) for v in node.inputs):
        return "the axis's sizes are not known"
    if not all(ir.rank(v) for v in node.inputs):
        return "its dims are not known"
    return _known(*node.inputs)


@family("Concat", accepts=_accepts_concat, forms=rows, strided=True)
def concat(group: Group, site: Site) -> Kernel:
    """Along one axis."""
    from effc.backends.tvm.schedules.move import concat as schedule

    node = group.anchor
    assert node is not None
    sources = [_source(v, site) for v in node.inputs]
    return schedule(sources, _axis(node), finish(group, site), site.cpu.lanes)


def _amounts(node: ir.Node) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """What is put before and behind each axis; None where it is not known."""
    pads, rank = ir.const(node.inputs[1]), ir.rank(node.inputs[0])
    named = input_at(node, 3)
    axes = np.arange(rank) if named is None else ir.const(named)
    if pads is None or axes is None:
        return None
    amounts = np.zeros((2, rank), np.int64)
    amounts[:, np.asarray(axes, np.int64) % rank] = pads.reshape(2, -1)
    before, after = (tuple(int(a) for a in side) for side in amounts)
    return before, after


def _fill(node: ir.Node) -> float | None:
    given = input_at(node, 2)
    value = np.float32(0) if given is None else ir.const(given)
    return None if value is None else value.item()


def _accepts_pad(node: ir.Node) -> str | None:
    if ir.attr_str(node, "mode", "constant") != "constant" or not ir.rank(node.inputs[0]):
        return "it repeats its border"
    amounts = _amounts(node)
    if amounts is None or _fill(node) is None or ir.const(node.inputs[0]) is not None:
        return "its amounts are computed"
    if not isinstance((ir.shape(node.inputs[0]) or ("?",))[0], int) and (amounts[0][0] or amounts[1][0]):
        return "it pads the batch"
    return _known(node.inputs[0], node.outputs[0])


@family("Pad", accepts=_accepts_pad, forms=rows, strided=True)
def pad(group: Group, site: Site) -> Kernel:
    """With a constant."""
    from effc.backends.tvm.schedules.move import Padding
    from effc.backends.tvm.schedules.move import pad as schedule

    node = group.anchor
    assert node is not None and node.inputs[0] is not None
    amounts, fill = _amounts(node), _fill(node)
    assert amounts is not None and fill is not None
    return schedule(Padding(site.placed[node.inputs[0]], amounts[0], fill), finish(group, site), site.cpu.lanes)
