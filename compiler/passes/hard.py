"""HardSigmoid and HardSwish put together from their clamp."""

from __future__ import annotations

import math
from dataclasses import replace as changed

import numpy as np

from effc.compiler import ir
from effc.compiler.edit import Before
from effc.compiler.passes.forms import Form, arguments, compose, place, takes
from effc.compiler.passes.polynomials import UNIT, Fraction, monomial
from effc.compiler.passes.rewrite import each, input_at, maker, replace, scalar
from effc.compiler.phase import Step

_SIXTH = 1.0 / 6.0


def _is_relu6(node: ir.Node) -> bool:
    return scalar(input_at(node, 1)) == 0.0 and scalar(input_at(node, 2)) == 6.0


_SHIFTED = {0: 3.0, 1: 1.0}
_GATE = {"alpha": _SIXTH, "beta": 0.5}

SIGMOID = Form("Clip", _SHIFTED, {(0, 1): _SIXTH}, "HardSigmoid", attributes=_GATE, when=_is_relu6)
"""Clip(x + 3, 0, 6) / 6"""
SWISH = Form("Clip", _SHIFTED, {(1, 1): _SIXTH}, "HardSwish", when=_is_relu6)
"""x Clip(x + 3, 0, 6) / 6"""


def swish(node: ir.Node) -> bool:
    """x HardSigmoid(x) with alpha 1/6 and beta 1/2 is HardSwish(x)."""
    for x, gate in (node.inputs, reversed(node.inputs)):
        made = maker(gate, "HardSigmoid")
        if made is not None and made.inputs[0] is x and _is_gate(made) and takes("HardSwish", x):
            return replace(node, "HardSwish", [x])
    return False


def _is_gate(node: ir.Node) -> bool:
    alpha, beta = ir.attr_float(node, "alpha", 0.2), ir.attr_float(node, "beta", 0.5)
    return math.isclose(alpha, _SIXTH, rel_tol=1e-4) and math.isclose(beta, 0.5, rel_tol=1e-4)


GATED = Step("hard swish", each(swish, "Mul"), since=14)


def scaled(node: ir.Node) -> bool:
    """x Clip(x + 3, 0, 6) c is x HardSigmoid(x) 6 c."""
    for found in arguments(node) if _is_relu6(node) and takes("HardSigmoid", node.inputs[0]) else ():
        if found.terms.over != {UNIT: 3.0, monomial({found.x: 1}): 1.0}:
            continue
        placed = place(node, found, Fraction({monomial({found.x: 1, node.outputs[0]: 1}): _SIXTH}))
        if placed is None or placed.factor == 6.0:
            return False
        before = Before(placed.root)
        gated = before.op("Mul", found.x, before.op("HardSigmoid", found.x, **_GATE))
        factor = before.const("factor", np.asarray(placed.factor, ir.numpy_dtype(found.x)))
        return before.replace(before.op("Mul", gated, factor))
    return False


SCALED = (
    GATED,
    Step("hard swish, scaled", compose(changed(SWISH, scaled=True)), since=14),
    Step("hard sigmoid, scaled", each(scaled, "Clip")),
)
"""Forms with another factor than 1/6, which may have gone into one behind it."""

STEPS = (
    Step("hard sigmoid", compose(SIGMOID)),
    GATED,
    Step("hard swish, divided", compose(SWISH), since=14),
)
