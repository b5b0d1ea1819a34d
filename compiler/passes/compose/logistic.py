"""1 / (1 + e^-u) written out around an Exp, for u a multiple of x: Sigmoid of a Mul, with a Mul by x behind it."""

from __future__ import annotations

import numpy as np

from effc.compiler import ir
from effc.compiler.edit import Before
from effc.compiler.passes.forms import arguments, place, takes
from effc.compiler.passes.polynomials import ONE, Fraction, monomial
from effc.compiler.passes.rewrite import each
from effc.compiler.phase import Step


def logistic(node: ir.Node) -> bool:
    """x / (1 + Exp(-alpha x)) is x Sigmoid(alpha x), and with 1 in the place of x it is Sigmoid(alpha x)."""
    if not takes("Sigmoid", node.inputs[0]):
        return False
    anchor = monomial({node.outputs[0]: 1})
    for found in arguments(node):
        alpha = -found.terms.over.get(monomial({found.x: 1}), 0.0)
        if len(found.terms.over) != 1 or alpha <= 0.0:
            continue
        for power in (1, 0):
            placed = place(node, found, Fraction({monomial({found.x: power}): 1.0}, {**ONE, anchor: 1.0}))
            if placed is not None and placed.factor == 1.0:
                return _written(placed.root, found.x, alpha, power)
    return False


def _written(root: ir.Node, x: ir.Value, alpha: float, power: int) -> bool:
    """Put x^power Sigmoid(alpha x) in the place of the node."""
    before = Before(root)
    scale = before.const("alpha", np.asarray(alpha, ir.numpy_dtype(x)))
    gate = before.op("Sigmoid", x if alpha == 1.0 else before.op("Mul", x, scale))
    return before.replace(before.op("Mul", x, gate) if power else gate)


STEPS = (Step("logistic functions", each(logistic, "Exp")),)
