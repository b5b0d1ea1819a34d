"""Fewer, larger ops: affine ops and pads go into convolutions, HardSwish is put together, clamps are merged."""

from __future__ import annotations

import math

import numpy as np

from effc.compiler import ir
from effc.compiler.passes import affine, pads
from effc.compiler.passes.rewrite import each, input_at, is_float, is_private, is_row, maker, replace, scalar
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


# HardSwish

_SIXTH = 1.0 / 6.0


def _is_scale_of_sixth(node: ir.Node) -> bool:
    factor = scalar(node.inputs[1])
    return factor is not None and math.isclose(factor, 6.0 if node.op_type == "Div" else _SIXTH, rel_tol=1e-6)


def _shifted_clip(value: ir.Value | None) -> ir.Value | None:
    """x where the value is Clip(x + 3, 0, 6)."""
    clip = maker(value, "Clip")
    if clip is None or bounds(clip) != (0.0, 6.0):
        return None
    add = maker(clip.inputs[0], "Add")
    return add.inputs[0] if add is not None and scalar(add.inputs[1]) == 3.0 and is_float(add.outputs[0]) else None


def hard_sigmoid(node: ir.Node) -> bool:
    """Clip(x + 3, 0, 6) / 6 is HardSigmoid(x) with alpha 1/6 and beta 1/2."""
    x = _shifted_clip(node.inputs[0])
    if x is None or not _is_scale_of_sixth(node) or len(ir.shape(node.outputs[0]) or ()) != len(ir.shape(x) or ()):
        return False
    return replace(node, "HardSigmoid", [x], {"alpha": _SIXTH, "beta": 0.5})


def hard_swish(node: ir.Node) -> bool:
    """x * HardSigmoid(x) with alpha 1/6 and beta 1/2 is HardSwish(x)."""
    for x, gate in (node.inputs, reversed(node.inputs)):
        made = maker(gate, "HardSigmoid")
        if made is not None and made.inputs[0] is x and _is_swish_gate(made):
            return replace(node, "HardSwish", [x])
    return False


def _is_swish_gate(node: ir.Node) -> bool:
    alpha, beta = ir.attr_float(node, "alpha", 0.2), ir.attr_float(node, "beta", 0.5)
    return math.isclose(alpha, _SIXTH, rel_tol=1e-6) and math.isclose(beta, 0.5, rel_tol=1e-6)


def hard_swish_divided(node: ir.Node) -> bool:
    """(x * Clip(x + 3, 0, 6)) / 6 is HardSwish(x)."""
    product = maker(node.inputs[0], "Mul")
    if product is None or not _is_scale_of_sixth(node):
        return False
    for x, clip in (product.inputs, reversed(product.inputs)):
        if x is not None and _shifted_clip(clip) is x:
            return replace(node, "HardSwish", [x])
    return False


# clamps


def bounds(node: ir.Node) -> tuple[float, float] | None:
    """[lo, hi] of a Clip with constant bounds or a Relu, else None."""
    if node.op_type == "Relu":
        return 0.0, math.inf
    if node.op_type != "Clip":
        return None
    lo, hi = input_at(node, 1), input_at(node, 2)
    low, high = -math.inf if lo is None else scalar(lo), math.inf if hi is None else scalar(hi)
    return None if low is None or high is None else (low, high)


def clamp_chain(node: ir.Node) -> bool:
    """Clip(Clip(x, a, b), c, d) is Clip(x, clip(a, c, d), clip(b, c, d)); Relu is Clip(0, infinity)."""
    inner = maker(node.inputs[0], "Clip", "Relu")
    first, second = None if inner is None else bounds(inner), bounds(node)
    if inner is None or first is None or second is None or not is_float(node.outputs[0]) or first[0] > first[1]:
        return False
    lo, hi = (min(max(bound, second[0]), second[1]) for bound in first)
    return _clamp(node, inner.inputs[0], lo, hi)


def clamp_form(node: ir.Node) -> bool:
    """Clip(x, 0, infinity) is Relu(x)."""
    found = bounds(node)
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


STEPS = (
    Step("MatMul + bias", each(gemm, "Add")),
    Step("batch normalization", each(affine.batch_normalization, "BatchNormalization")),
    Step("affine constants", each(affine.constant_affine, "Mul", "Add", "Div", "Sub")),
    Step("pads", each(pads.into_window, "Conv", "MaxPool", "AveragePool")),
    Step("hard sigmoid", each(hard_sigmoid, "Div", "Mul")),
    Step("hard swish", each(hard_swish, "Mul"), since=14),
    Step("hard swish, divided", each(hard_swish_divided, "Div", "Mul"), since=14),
    Step("clamp chains", each(clamp_chain, "Clip", "Relu")),
    Step("clamp to relu", each(clamp_form, "Clip")),
)
