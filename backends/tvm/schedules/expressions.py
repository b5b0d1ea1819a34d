"""Element-wise ONNX ops as TIR expressions on vectors: one function an op, `(node, *operands) -> value`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import numpy as np
from tvm.tirx.script import builder as T

from effc.backends.tvm.schedules import approx
from effc.backends.tvm.schedules.nest import Expr, as_type, number, scalar_of
from effc.compiler import ir
from effc.compiler.lowering import OpTable
from effc.compiler.passes.rewrite import input_at

Expression = Callable[..., Expr]
TABLE: OpTable[Expression] = OpTable("tvm expressions")
_ROUNDING = 1.5 * 2**23


def _is_float(x: Expr) -> bool:
    return scalar_of(x).startswith("float")


def _is_bool(x: Expr) -> bool:
    return scalar_of(x) == "bool"


def at_least(x: Expr, low: Expr) -> Expr:
    """`max(x, low)`; NaN where x is NaN: LLVM's `x < low ? low : x`."""
    return T.Select(x < low, low, x) if _is_float(x) else T.max(x, low)


def at_most(x: Expr, high: Expr) -> Expr:
    """`min(x, high)`; NaN where x is NaN."""
    return T.Select(x > high, high, x) if _is_float(x) else T.min(x, high)


def _divide(a: Expr, b: Expr) -> Expr:
    return a / b if _is_float(a) else T.truncdiv(a, b)


def _sign(x: Expr) -> Expr:
    zero, one = number(0, x), number(1, x)
    return T.Select(x > zero, one, T.Select(x < zero, zero - one, x))


def _reciprocal(x: Expr) -> Expr:
    return number(1.0, x) / x


def _softsign(x: Expr) -> Expr:
    return x / (number(1.0, x) + _abs(x))


def _abs(x: Expr) -> Expr:
    return T.fabs(x) if _is_float(x) else T.Select(x < number(0, x), number(0, x) - x, x)


def _hard_swish(x: Expr) -> Expr:
    line = x * number(1 / 6, x) + number(0.5, x)
    return x * at_most(at_least(line, number(0.0, x)), number(1.0, x))


def _xor(a: Expr, b: Expr) -> Expr:
    return T.Or(T.And(a, T.Not(b)), T.And(T.Not(a), b))


def _equal(a: Expr, b: Expr) -> Expr:
    return T.Not(_xor(a, b)) if _is_bool(a) else T.EQ(a, b)


_PLAIN: dict[str, Callable[..., Expr]] = {
    "Abs": _abs,
    "Add": lambda a, b: a + b,
    "And": T.And,
    "Ceil": T.ceil,
    "Cos": T.cos,
    "Div": _divide,
    "Equal": _equal,
    "Erf": approx.erf,
    "Exp": approx.exp,
    "Floor": T.floor,
    "Greater": lambda a, b: a > b,
    "GreaterOrEqual": lambda a, b: a >= b,
    "HardSwish": _hard_swish,
    "Less": lambda a, b: a < b,
    "LessOrEqual": lambda a, b: a <= b,
    "Log": approx.log,
    "Max": lambda *x: reduce(at_least, x),
    "Min": lambda *x: reduce(at_most, x),
    "Mish": approx.mish,
    "Mul": lambda a, b: a * b,
    "Neg": lambda x: number(0, x) - x,
    "Not": T.Not,
    "Or": T.Or,
    "PRelu": lambda x, slope: T.Select(x < number(0, x), x * slope, x),
    "Reciprocal": _reciprocal,
    "Relu": lambda x: at_least(x, number(0, x)),
    "Round": T.nearbyint,
    "Sigmoid": approx.sigmoid,
    "Sign": _sign,
    "Sin": T.sin,
    "Softplus": approx.softplus,
    "Softsign": _softsign,
    "Sqrt": T.sqrt,
    "Sub": lambda a, b: a - b,
    "Tanh": approx.tanh,
    "Where": T.Select,
    "Xor": _xor,
}
"""Ops without attributes."""


def _plain(function: Callable[..., Expr]) -> Expression:
    def expression(node: ir.Node, *operands: Expr) -> Expr:
        del node
        return function(*operands)

    return expression


for _name, _function in _PLAIN.items():
    TABLE.op(_name)(_plain(_function))


@TABLE.op("Clip")
def clip(node: ir.Node, x: Expr, *limits: Expr | None) -> Expr:
    """`min(max(x, lo), hi)`, either of which may be missing."""
    del node
    lo, hi = (*limits, None, None)[:2]
    raised = x if lo is None else at_least(x, lo)
    return raised if hi is None else at_most(raised, hi)


@TABLE.op("HardSigmoid")
def hard_sigmoid(node: ir.Node, x: Expr) -> Expr:
    """`clip(alpha * x + beta, 0, 1)`."""
    alpha, beta = ir.attr_float(node, "alpha", 0.2), ir.attr_float(node, "beta", 0.5)
    line = x * number(alpha, x) + number(beta, x)
    return at_most(at_least(line, number(0.0, x)), number(1.0, x))


@TABLE.op("LeakyRelu")
def leaky_relu(node: ir.Node, x: Expr) -> Expr:
    """`x < 0 ? alpha * x : x`."""
    return T.Select(x < number(0.0, x), x * number(ir.attr_float(node, "alpha", 0.01), x), x)


@TABLE.op("Elu")
def elu(node: ir.Node, x: Expr) -> Expr:
    """`x < 0 ? alpha * (e^x - 1) : x`."""
    low = number(ir.attr_float(node, "alpha", 1.0), x) * (approx.exp(x) - number(1.0, x))
    return T.Select(x < number(0.0, x), low, x)


@TABLE.op("Selu")
def selu(node: ir.Node, x: Expr) -> Expr:
    """`gamma * (x > 0 ? x : alpha * (e^x - 1))`."""
    alpha, gamma = (
        ir.attr_float(node, "alpha", 1.67326319217681884765625),
        ir.attr_float(node, "gamma", 1.05070102214813232421875),
    )
    low = number(alpha, x) * (approx.exp(x) - number(1.0, x))
    return number(gamma, x) * T.Select(x > number(0.0, x), x, low)


@TABLE.op("Gelu")
def gelu(node: ir.Node, x: Expr) -> Expr:
    """`x / 2 * (1 + erf(x / sqrt 2))`, or with `tanh(sqrt(2 / pi) * (x + 0.044715 x^3))` in erf's place."""
    if ir.attr_str(node, "approximate", "none") == "tanh":
        inner = number(math.sqrt(2 / math.pi), x) * (x + number(0.044715, x) * x * x * x)
        gate = approx.tanh(inner)
    else:
        gate = approx.erf(x * number(math.sqrt(0.5), x))
    return x * number(0.5, x) * (number(1.0, x) + gate)


@TABLE.op("Pow")
def power(node: ir.Node, x: Expr, exponent: Expr) -> Expr:
    """`x^y`: by products and roots for a few constant y, else by libm."""
    constant = ir.const(node.inputs[1])
    known = float(constant.item()) if constant is not None and constant.size == 1 else None
    match known:
        case 1.0:
            return x
        case 2.0:
            return x * x
        case 3.0:
            return x * x * x
        case 4.0:
            return (x * x) * (x * x)
        case 0.5 if _is_float(x):
            return T.sqrt(x)
        case -1.0 if _is_float(x):
            return _reciprocal(x)
        case _:
            wide = as_type("float64" if scalar_of(x) in ("float64", "int64", "int32") else "float32", x)
            return T.cast(T.pow(T.cast(x, wide), T.cast(exponent, wide)), as_type(scalar_of(x), x))


@TABLE.op("Cast")
def cast(node: ir.Node, x: Expr) -> Expr:
    """The number in the output's type: floats are cut towards zero, true is 1, all but 0 is true."""
    dtype = str(ir.numpy_dtype(node.outputs[0]))
    if dtype == "bool":
        return x if _is_bool(x) else T.NE(x, number(0, x))
    if _is_bool(x):
        like = T.cast(x, as_type(dtype, x))
        return T.Select(x, number(1, like), number(0, like))
    return T.cast(x, as_type(dtype, x))


@TABLE.op("DequantizeLinear")
def dequantize(node: ir.Node, x: Expr, *_: Expr) -> Expr:
    """`(x - zero_point) * scale`, for one scale."""
    scale, zero = _parameters(node)
    wide = T.cast(x, as_type("int32", x)) - number(zero, T.cast(x, as_type("int32", x)))
    real = T.cast(wide, as_type("float32", x))
    return real * number(scale, real)


@TABLE.op("QuantizeLinear")
def quantize(node: ir.Node, x: Expr, *_: Expr) -> Expr:
    """`saturate(round(x / scale) + zero_point)`, ties to even, for one scale.

    Added to 1.5 * 2^23, a float is rounded, and the lowest bits of the sum are the integer in two's complement.
    """
    scale, zero = _parameters(node)
    dtype = str(ir.numpy_dtype(node.outputs[0]))
    wide = T.cast(x, as_type("float32", x))
    steps = wide * number(1 / scale, wide)
    lo, hi = (number(float(end - zero), wide) for end in (np.iinfo(dtype).min, np.iinfo(dtype).max))
    bits = T.reinterpret(as_type("int32", x), T.min(T.max(steps, lo), hi) + number(_ROUNDING, wide))
    return T.cast(bits + number(zero, bits), as_type(dtype, x))


def _parameters(node: ir.Node) -> tuple[float, int]:
    """Scale and zero point of a per-tensor Q or DQ."""
    scale = ir.const(node.inputs[1])
    zero = ir.const(input_at(node, 2))
    return float(np.asarray(scale).item()), 0 if zero is None else int(np.asarray(zero).item())
