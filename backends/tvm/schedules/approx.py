"""Transcendental functions as polynomials on vectors, since LLVM would call libm for every lane."""

from __future__ import annotations

from tvm import tirx
from tvm.tirx.script import builder as T

from effc.backends.tvm.schedules.nest import Expr, number


def sigmoid(x: Expr) -> Expr:
    """`1 / (1 + exp(-x))`."""
    one = number(1.0, x)
    return one / (one + T.exp(number(0.0, x) - x))
