"""Reductions over any axes of row-major tensors, ArgMax, ArgMin."""

from __future__ import annotations

from effc.backends.tvm.ops.dense import rows
from effc.backends.tvm.ops.finish import finish
from effc.backends.tvm.ops.table import Site, family
from effc.backends.tvm.plan.group import Group
from effc.backends.tvm.schedules.nest import Kernel
from effc.compiler import ir
from effc.compiler.passes.rewrite import input_at

_INTEGERS = ("ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd")
_OPS = ("ReduceMean", *_INTEGERS, "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum")


def axes(node: ir.Node) -> tuple[int, ...] | None:
    """The axes that a reduction goes over, ascending; None where they are not known."""
    rank = ir.rank(node.inputs[0])
    given = input_at(node, 1)
    if given is None:
        every = () if ir.attr_int(node, "noop_with_empty_axes", 0) else tuple(range(rank))
        return tuple(sorted(a % rank for a in ir.attr_ints(node, "axes", every)))
    found = ir.const(given)
    if found is None:
        return None
    named = tuple(sorted({int(a) % rank for a in found.ravel()}))
    return named or (() if ir.attr_int(node, "noop_with_empty_axes", 0) else tuple(range(rank)))


def _sides_known(node: ir.Node) -> bool:
    dims = ir.shape(node.inputs[0]) or ()
    return bool(dims) and all(isinstance(d, int) and d > 0 for d in dims[1:]) and ir.const(node.inputs[0]) is None


def _accepts(node: ir.Node) -> str | None:
    over = axes(node) if ir.rank(node.inputs[0]) else None
    dtype = str(ir.numpy_dtype(node.inputs[0])) if node.inputs[0] else ""
    if not over or not _sides_known(node):
        return "its axes or dims are not known"
    if any(not isinstance((ir.shape(node.inputs[0]) or ())[a], int) for a in over):
        return "it reduces the batch"
    allowed = ("float32", "float16", *(("int32", "int64") if node.op_type in _INTEGERS else ()))
    return None if dtype in allowed else f"it is in {dtype}"


@family(*_OPS, accepts=_accepts, forms=rows, strided=True)
def reduce(group: Group, site: Site) -> Kernel:
    """Over any axes."""
    return over_rows(group, site)


_POOLS = {"GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax"}


def over_rows(group: Group, site: Site) -> Kernel:
    """A reduction, or a pool over whole images, of a row-major tensor."""
    from effc.backends.tvm.schedules.reduce import Reduction, reduction

    node = group.anchor
    assert node is not None and node.inputs[0] is not None
    pools = node.op_type in _POOLS
    over = tuple(range(2, ir.rank(node.inputs[0]))) if pools else axes(node)
    assert over is not None
    keepdims = pools or bool(ir.attr_int(node, "keepdims", 1))
    work = Reduction(_POOLS.get(node.op_type, node.op_type), site.placed[node.inputs[0]], over, keepdims)
    return reduction(work, finish(group, site), site.cpu.lanes)


def _accepts_extreme(node: ir.Node) -> str | None:
    axis = ir.attr_int(node, "axis", 0) % max(1, ir.rank(node.inputs[0]))
    dims = ir.shape(node.inputs[0]) or ()
    if not _sides_known(node) or not isinstance(dims[axis], int):
        return "its dims are not known"
    assert node.inputs[0] is not None
    dtype = str(ir.numpy_dtype(node.inputs[0]))
    return None if dtype in ("float32", "float16", "int32", "int64") else f"it is in {dtype}"


@family("ArgMax", "ArgMin", accepts=_accepts_extreme, forms=rows, strided=True)
def extreme(group: Group, site: Site) -> Kernel:
    """The place of the largest or the smallest value."""
    from effc.backends.tvm.schedules.reduce import Extreme
    from effc.backends.tvm.schedules.reduce import extreme as schedule

    node = group.anchor
    assert node is not None and node.inputs[0] is not None
    axis = ir.attr_int(node, "axis", 0) % ir.rank(node.inputs[0])
    flags = [bool(ir.attr_int(node, name, default)) for name, default in (("keepdims", 1), ("select_last_index", 0))]
    work = Extreme(site.placed[node.inputs[0]], axis, flags[0], node.op_type == "ArgMax", flags[1])
    return schedule(work, finish(group, site))
