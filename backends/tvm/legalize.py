"""Legalization: float ONNX to float ONNX in the ops that have schedules or that TVM's importer takes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from effc.backends.tvm.plan.resize import is_plain, nearest, scale
from effc.backends.tvm.plan.symbols import names
from effc.compiler import ir
from effc.compiler.decompose.activations import celu
from effc.compiler.decompose.norms import layer_norm_moments, lp_norm
from effc.compiler.edit import Before
from effc.compiler.passes.rewrite import Rule, bypass, each, graph_of
from effc.compiler.phase import Phase, Step
from effc.compiler.settle import settle

Integers = NDArray[np.int64]
_FAR = 10**8
"""An end that lies behind any batch."""
_LARGE = 1 << 20
"""Elements of a constant that is worth its bytes."""


def phases(precision: str) -> tuple[Phase, ...]:
    """The steps for a precision, in run order."""
    del precision
    steps = (Step("outputs_named", outputs_named), *(Step(rule.__name__, each(rule)) for rule in _RULES))
    return (Phase("tvm-legalize", steps, rounds=4),)


def outputs_named(model: ir.Model) -> bool:
    """An output's dims are named as the inputs' are where they are equal: exporters name each tensor's anew."""
    known = {dim for value in model.graph.inputs for dim in ir.shape(value) or ()}
    odd = [v for v in model.graph.outputs if any(isinstance(d, str) and d not in known for d in ir.shape(v) or ())]
    stated = [ir.shape(value) or () for value in odd]
    for value, dims in zip(odd, stated, strict=True):
        value.shape = ir.Shape([d if isinstance(d, int) or d in known else None for d in dims])
    if odd:
        settle(model, where="outputs_named")
    found = [ir.shape(value) or () for value in odd]
    for value, old, new in zip(odd, stated, found, strict=True):
        value.shape = ir.Shape([o if n == "?" else n for o, n in zip(old, new, strict=True)])
    return [ir.shape(value) for value in odd] != stated


def whole_slices(node: ir.Node) -> bool:
    """x[0:far, a:b] is x[:, a:b], and x[0:far] is x: without the axis, shape inference keeps its symbolic dim."""
    if node.op_type != "Slice":
        return False
    given = [ir.const(v) for v in node.inputs[1:] if v is not None]
    if len(given) != len(node.inputs) - 1 or any(v is None for v in given):
        return False
    starts, ends, axes, steps = _complete([np.asarray(v, np.int64) for v in given])
    whole = (starts == 0) & (ends > _FAR) & (steps == 1)
    if whole.all():
        return node.inputs[0] is not None and bypass(node, node.inputs[0])
    if not whole.any():
        return False
    before = Before(node)
    pairs = (("starts", starts), ("ends", ends), ("axes", axes), ("steps", steps))
    return before.replace(
        before.op("Slice", node.inputs[0], *(before.const(name, array[~whole]) for name, array in pairs))
    )


def _complete(given: list[Integers]) -> list[Integers]:
    """Starts, ends, axes and steps, the last two by default 0, 1, 2, ... and 1."""
    size = given[0].size
    defaults: list[Integers] = [given[0], given[1], np.arange(size), np.ones(size, np.int64)]
    return [*given, *defaults[len(given) :]]


def backward_slices(node: ir.Node) -> bool:
    """A slice with negative steps that starts before the first element starts with it."""
    if node.op_type != "Slice" or len(node.inputs) != 5:
        return False
    given, dims = [ir.const(v) for v in node.inputs[1:]], ir.static_shape(node.inputs[0])
    if dims is None or any(v is None for v in given):
        return False
    starts, ends, axes, steps = (np.asarray(v, np.int64) for v in given)
    sizes = np.asarray(dims)[axes]
    before_all = (steps < 0) & (starts < -sizes)
    if not before_all.any():
        return False
    before = Before(node)
    moved = before.const("starts", np.where(before_all, 0, starts))
    end = before.const("ends", np.where(before_all, -_FAR, ends))
    return before.replace(before.op("Slice", node.inputs[0], moved, end, *node.inputs[3:]))


def expand_of_batch(node: ir.Node) -> bool:
    """Expand(x, s) is x * ones(s), which needs to know no size of x."""
    shape = ir.const(node.inputs[1]) if node.op_type == "Expand" else None
    dtype = ir.numpy_dtype(node.outputs[0])
    if shape is None or dtype is None or dtype.kind not in "fiu" or ir.static_shape(node.inputs[0]) is not None:
        return False
    sizes = tuple(int(d) for d in shape)
    if math.prod(sizes) > _LARGE:
        return False
    before = Before(node)
    return before.replace(before.op("Mul", node.inputs[0], before.const("ones", np.ones(sizes, dtype))))


def symbols_kept(node: ir.Node) -> bool:
    """A Reshape to (-1, 2) of (n, 6) is to (3 n, 2): inference leaves the dim nameless."""
    if node.op_type != "Reshape":
        return False
    dims, made = ir.shape(node.inputs[0]) or (), ir.shape(node.outputs[0]) or ()
    known = {dim for value in graph_of(node).inputs for dim in ir.shape(value) or ()}
    free, found = ([d for d in side if not isinstance(d, int)] for side in (dims, made))
    if len(free) != 1 or free[0] not in known or len(found) != 1 or names(str(found[0])) <= known:
        return False
    inner, outer = (math.prod(d for d in side if isinstance(d, int)) for side in (dims, made))
    if not outer or inner % outer:
        return False
    dim = free[0] if inner == outer else f"{inner // outer}*{free[0]}"
    node.outputs[0].shape = ir.Shape([dim if d == found[0] else d for d in made])
    return True


def one_hot(node: ir.Node) -> bool:
    """OneHot(i, d, (off, on)) is Where(mod(i, d) == (0, ..., d - 1), on, off)."""
    depth = ir.const(node.inputs[1]) if node.op_type == "OneHot" else None
    values = ir.const(node.inputs[2]) if node.op_type == "OneHot" else None
    if depth is None or values is None or ir.shape(node.inputs[0]) is None:
        return False
    before, size, rank = Before(node), int(depth.item()), ir.rank(node.outputs[0])
    axis = ir.attr_int(node, "axis", -1) % rank
    index = before.op("Cast", node.inputs[0], to=int(ir.DataType.INT64))
    wrapped = before.op("Mod", index, before.const("depth", np.asarray(size, np.int64)))
    column = before.op("Unsqueeze", wrapped, before.const("axes", np.asarray([axis], np.int64)))
    line = np.arange(size, dtype=np.int64).reshape([-1] + [1] * (rank - 1 - axis))
    hit = before.op("Equal", column, before.const("line", line))
    off, on = (before.const(name, np.asarray(value)) for name, value in zip(("off", "on"), values, strict=True))
    return before.replace(before.op("Where", hit, on, off))


def nearest_by_gather(node: ir.Node) -> bool:
    """Resize to the nearest, of what is no image of several channels, is a Gather along each axis that it changes.

    TVM's own takes the other neighbour where an output lies in the middle of two.
    """
    if node.op_type != "Resize" or ir.attr_str(node, "mode", "nearest") != "nearest" or not is_plain(node):
        return False
    old, new = ir.shape(node.inputs[0]) or (), ir.shape(node.outputs[0]) or ()
    axes = [
        axis for axis, dims in enumerate(zip(old, new, strict=True)) if dims[0] != dims[1] or scale(node, axis) != 1
    ]
    several = len(old) in (3, 4) and old[:2] == new[:2] and old[1] != 1
    if several or any(not isinstance(dims[axis], int) for dims in (old, new) for axis in axes):
        return False
    before, value = Before(node), node.inputs[0]
    assert value is not None
    if not axes:
        return bypass(node, value)
    for axis in axes:
        value = before.op("Gather", value, before.const("places", nearest(node, axis).astype(np.int64)), axis=axis)
    return before.replace(value)


_RULES: tuple[Rule, ...] = (
    nearest_by_gather,
    whole_slices,
    backward_slices,
    expand_of_batch,
    symbols_kept,
    one_hot,
    celu,
    lp_norm,
    layer_norm_moments,
)
