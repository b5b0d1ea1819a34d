"""Element-wise ONNX ops as TIR expressions on vectors: one function an op, `(node, *operands) -> value`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from effc.backends.tvm.schedules import approx
from effc.backends.tvm.schedules.nest import Expr, lanes_of, number, scalar_of
from effc.compiler import ir
from effc.compiler.lowering import OpTable

Expression = Callable[..., Expr]
TABLE: OpTable[Expression] = OpTable("tvm expressions")


@TABLE.op("Add")
def add(node: ir.Node, a: Expr, b: Expr) -> Expr:
    """`a + b`."""
    del node
    return a + b


@TABLE.op("Sub")
def sub(node: ir.Node, a: Expr, b: Expr) -> Expr:
    """`a - b`."""
    del node
    return a - b


@TABLE.op("Mul")
def mul(node: ir.Node, a: Expr, b: Expr) -> Expr:
    """`a * b`."""
    del node
    return a * b


@TABLE.op("Relu")
def relu(node: ir.Node, x: Expr) -> Expr:
    """`max(x, 0)`."""
    del node
    return T.max(x, number(0.0, x))


@TABLE.op("Clip")
def clip(node: ir.Node, x: Expr, *limits: Expr | None) -> Expr:
    """`min(max(x, lo), hi)`, either of which may be missing."""
    del node
    lo, hi = (*limits, None, None)[:2]
    raised = x if lo is None else T.max(x, lo)
    return raised if hi is None else T.min(raised, hi)


@TABLE.op("Sigmoid")
def sigmoid(node: ir.Node, x: Expr) -> Expr:
    """`1 / (1 + exp(-x))`."""
    del node
    return approx.sigmoid(x)


@TABLE.op("HardSigmoid")
def hard_sigmoid(node: ir.Node, x: Expr) -> Expr:
    """`clip(alpha * x + beta, 0, 1)`."""
    alpha, beta = ir.attr_float(node, "alpha", 0.2), ir.attr_float(node, "beta", 0.5)
    line = x * number(alpha, x) + number(beta, x)
    return T.min(T.max(line, number(0.0, x)), number(1.0, x))


@TABLE.op("HardSwish")
def hard_swish(node: ir.Node, x: Expr) -> Expr:
    """`x * clip(x / 6 + 1/2, 0, 1)`."""
    del node
    line = x * number(1 / 6, x) + number(0.5, x)
    return x * T.min(T.max(line, number(0.0, x)), number(1.0, x))


@TABLE.op("DequantizeLinear")
def dequantize(node: ir.Node, x: Expr, *_: Expr) -> Expr:
    """`(x - zero_point) * scale`, for one scale."""
    scale, zero = _parameters(node)
    wide = T.cast(x, _as_type("int32", x)) - number(zero, T.cast(x, _as_type("int32", x)))
    real = T.cast(wide, _as_type("float32", x))
    return real * number(scale, real)


@TABLE.op("QuantizeLinear")
def quantize(node: ir.Node, x: Expr, *_: Expr) -> Expr:
    """`saturate(round(x / scale) + zero_point)`, ties to even, for one scale."""
    scale, zero = _parameters(node)
    dtype = str(ir.numpy_dtype(node.outputs[0]))
    lo, hi = (float(np.iinfo(dtype).min), float(np.iinfo(dtype).max))
    moved = T.nearbyint(x * number(1 / scale, x)) + number(zero, x)
    held = T.min(T.max(moved, number(lo, x)), number(hi, x))
    return T.cast(T.cast(held, _as_type("int32", x)), _as_type(dtype, x))


def _parameters(node: ir.Node) -> tuple[float, int]:
    """Scale and zero point of a per-tensor Q or DQ."""
    scale = ir.const(node.inputs[1])
    zero = ir.const(node.inputs[2]) if len(node.inputs) > 2 else None
    return float(np.asarray(scale).item()), 0 if zero is None else int(np.asarray(zero).item())


def _as_type(dtype: str, like: Expr) -> str:
    lanes = lanes_of(like)
    return dtype if lanes == 1 else f"{dtype}x{lanes}"
