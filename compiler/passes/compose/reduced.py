"""Reductions as rules see them: what is reduced, along which axes."""

from __future__ import annotations

from dataclasses import dataclass

from effc.compiler import ir
from effc.compiler.passes.rewrite import input_at, maker

OPS = tuple(
    f"Reduce{name}" for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
)


@dataclass(frozen=True)
class Reduced:
    """`node` reduces `x` along `axes`, counted from the front and sorted."""

    node: ir.Node
    x: ir.Value
    axes: tuple[int, ...]
    keepdims: bool

    @property
    def value(self) -> ir.Value:
        """What it gives."""
        return self.node.outputs[0]


def reduced(value: ir.Value | None, *ops: str) -> Reduced | None:
    """The reduction by one of these ops that makes the value; None also where its axes are not known."""
    node = maker(value, *ops)
    return None if node is None else of(node)


def of(node: ir.Node) -> Reduced | None:
    """A node that reduces, None where its axes are not known."""
    x = node.inputs[0]
    axes = None if x is None else axes_of(node)
    if x is None or axes is None:
        return None
    return Reduced(node, x, axes, node.op_type == "GlobalAveragePool" or ir.attr_int(node, "keepdims", 1) == 1)


def dims_of(found: Reduced, keepdims: bool) -> tuple[int | str, ...] | None:
    """The shape that the reduction gives, or would give."""
    dims = ir.shape(found.x)
    if dims is None:
        return None
    return tuple(d for axis, dim in enumerate(dims) for d in ((1,) * keepdims if axis in found.axes else (dim,)))


def axes_of(node: ir.Node) -> tuple[int, ...] | None:
    """The axes, all of them where none are given; None where they or the rank are not constant."""
    rank, given = ir.rank(node.inputs[0]), input_at(node, 1)
    if node.op_type == "GlobalAveragePool":
        return tuple(range(2, rank)) or None
    array = ir.const(given)
    if rank == 0 or (given is not None and array is None):
        return None
    if array is None or array.size == 0:
        return None if ir.attr_int(node, "noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(int(axis) % rank for axis in array.ravel()))
