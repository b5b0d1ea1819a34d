"""Fewer, larger ops: affine ops and pads go into convolutions, HardSwish is put together, clamps are merged."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from effc.compiler import ir
from effc.compiler.passes import affine, pads
from effc.compiler.passes.rewrite import bypass, each, input_at, is_float, is_private, is_row, maker, replace, scalar
from effc.compiler.phase import Step


def gemm(node: ir.Node) -> bool:
    """Add(MatMul(a, W), c) is Gemm(a, W, c) for a of rank 2 and constant W, c."""
    product = maker(node.inputs[0], "MatMul")
    bias = ir.const(node.inputs[1])
    if product is None or bias is None or not is_private(product.outputs[0]) or not is_float(product.outputs[0]):
        return False
    weight = ir.const(product.inputs[1])
    if weight is None or weight.ndim != 2 or len(ir.shape(product.inputs[0]) or ()) != 2:
        return False
    if not is_row(bias, weight.shape[1]):
        return False
    return replace(node, "Gemm", [*product.inputs, node.inputs[1]])


# clamps

_CLAMPS = ("Clip", "Relu", "Max", "Min")


def bounds(node: ir.Node) -> tuple[float, float] | None:
    """[lo, hi] of a Clip with constant bounds or a Relu, else None."""
    if node.op_type == "Relu":
        return 0.0, math.inf
    if node.op_type != "Clip":
        return None
    lo, hi = input_at(node, 1), input_at(node, 2)
    low, high = -math.inf if lo is None else scalar(lo), math.inf if hi is None else scalar(hi)
    return None if low is None or high is None else (low, high)


def _limits(node: ir.Node) -> tuple[float, float] | None:
    """`bounds`, and those of Max and Min with one number, which must not widen the tensor."""
    if node.op_type not in ("Max", "Min"):
        return bounds(node)
    limit = scalar(input_at(node, 1))
    if limit is None or len(node.inputs) != 2 or ir.rank(node.inputs[1]) > ir.rank(node.inputs[0]):
        return None
    if any(d != 1 for d in ir.shape(node.inputs[1]) or ()):
        return None
    return (limit, math.inf) if node.op_type == "Max" else (-math.inf, limit)


def clamp_chain(node: ir.Node) -> bool:
    """Clip(Clip(x, a, b), c, d) is Clip(x, clip(a, c, d), clip(b, c, d)); Relu, Max and Min are clips of one side."""
    inner = maker(node.inputs[0], *_CLAMPS)
    first, second = None if inner is None else _limits(inner), _limits(node)
    if inner is None or first is None or second is None or not is_float(node.outputs[0]) or first[0] > first[1]:
        return False
    lo, hi = (min(max(bound, second[0]), second[1]) for bound in first)
    return _clamp(node, inner.inputs[0], lo, hi)


def clamp_form(node: ir.Node) -> bool:
    """Clip(x, 0, infinity) and Max(x, 0) are Relu(x); without limits they are x."""
    found, x = _limits(node), node.inputs[0]
    if found == (-math.inf, math.inf) and x is not None and node.op_type != "Relu":
        return bypass(node, x)
    if found is None or found[0] != 0.0 or not is_float(node.outputs[0]) or math.isfinite(_within(node, found[1])):
        return False
    return replace(node, "Relu", [node.inputs[0]])


def _within(node: ir.Node, bound: float) -> float:
    """The bound, infinite where the element type cannot hold more."""
    dtype = node.outputs[0].dtype
    return bound if dtype is None or bound < float(dtype.max) else math.inf


def _clamp(node: ir.Node, x: ir.Value | None, lo: float, hi: float) -> bool:
    if (lo, hi) == (0.0, math.inf):
        return replace(node, "Relu", [x])
    dtype = ir.numpy_dtype(node.outputs[0])
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    name = node.outputs[0].name
    low = None if math.isinf(lo) else ir.initializer(graph, f"{name}_min", np.array(lo, dtype))
    high = None if math.isinf(hi) else ir.initializer(graph, f"{name}_max", np.array(hi, dtype))
    return replace(node, "Clip", [x, low, high] if high is not None else [x, low])


def steps(spread: bool = True) -> tuple[Step, ...]:
    """The steps; without `spread` weights of one value keep it, so that they need no room in a file."""
    return (
        Step("MatMul + bias", each(gemm, "Add")),
        Step("batch normalization", each(partial(affine.batch_normalization, spread=spread), "BatchNormalization")),
        Step("affine constants", each(partial(affine.constant_affine, spread=spread), *affine.CONSTANT_OPS)),
        *_OTHERS,
    )


_OTHERS = (
    Step("pads", each(pads.into_window, "Conv", "MaxPool", "AveragePool")),
    Step("clamp chains", each(clamp_chain, *_CLAMPS)),
    Step("clamp to relu", each(clamp_form, "Clip", "Max", "Min")),
)
