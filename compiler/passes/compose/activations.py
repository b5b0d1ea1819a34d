"""Activations that exporters write out, as one op: GELU, Swish, Mish and their like."""

from __future__ import annotations

import math
from collections.abc import Mapping

from effc.compiler import ir
from effc.compiler.passes import hard
from effc.compiler.passes.forms import Argument, Form, Mixed, arguments, compose, place, takes
from effc.compiler.passes.polynomials import Expansion, Fraction, encloses, equal, monomial, sources, tolerance
from effc.compiler.passes.rewrite import each, input_at, is_private, maker, replace, scalar
from effc.compiler.phase import Step

_SLOPE = math.sqrt(2.0 / math.pi)
_CUBIC = 0.044715
_HALVES: Mixed = {(1, 0): 0.5, (1, 1): 0.5}
"""x (1 + a) / 2."""
_TANH = {"approximate": "tanh"}

GELU = (
    Form("Erf", {1: math.sqrt(0.5)}, _HALVES, "Gelu", scaled=True),
    Form("Tanh", {1: _SLOPE, 3: _SLOPE * _CUBIC}, _HALVES, "Gelu", attributes=_TANH, scaled=True),
    Form("Sigmoid", {1: 2 * _SLOPE, 3: 2 * _SLOPE * _CUBIC}, {(1, 1): 1.0}, "Gelu", attributes=_TANH),
)
"""x P(X <= x) for a normal X (Hendrycks and Gimpel, arXiv 1606.08415); 1 + tanh(u) is 2 sigmoid(2u)."""
SIGMOID = (
    Form("Exp", {1: -1.0}, {(0, 0): 1.0}, "Sigmoid", {(0, 0): 1.0, (0, 1): 1.0}),
    Form("Exp", {1: 1.0}, {(0, 1): 1.0}, "Sigmoid", {(0, 0): 1.0, (0, 1): 1.0}),
    Form("Tanh", {1: 0.5}, {(0, 0): 0.5, (0, 1): 0.5}, "Sigmoid"),
)
TANH = (
    Form("Sigmoid", {1: 2.0}, {(0, 0): -1.0, (0, 1): 2.0}, "Tanh"),
    Form("Exp", {1: 2.0}, {(0, 0): -1.0, (0, 1): 1.0}, "Tanh", {(0, 0): 1.0, (0, 1): 1.0}),
    Form("Exp", {1: -2.0}, {(0, 0): 1.0, (0, 1): -1.0}, "Tanh", {(0, 0): 1.0, (0, 1): 1.0}),
)
SWISH = (
    Form("Exp", {1: -1.0}, {(1, 0): 1.0}, "Swish", {(0, 0): 1.0, (0, 1): 1.0}),
    Form("Tanh", {1: 0.5}, _HALVES, "Swish"),
)
MISH = Form("Exp", {1: 1.0}, {(1, 2): 1.0, (1, 1): 2.0}, "Mish", {(0, 2): 1.0, (0, 1): 2.0, (0, 0): 2.0})
"""tanh(log(1 + a)) is ((1 + a)^2 - 1) / ((1 + a)^2 + 1)."""
SOFTSIGN = Form("Abs", {1: 1.0}, {(1, 0): 1.0}, "Softsign", {(0, 0): 1.0, (0, 1): 1.0})


def swish(node: ir.Node) -> bool:
    """x Sigmoid(alpha x) is Swish(x)."""
    for found in arguments(node):
        alpha = found.terms.over.get(monomial({found.x: 1}), 0.0)
        if len(found.terms.over) == 1 and alpha:
            wanted = Fraction({monomial({found.x: 1, node.outputs[0]: 1}): 1.0})
            placed = place(node, found, wanted)
            if placed is not None and placed.factor == 1.0:
                return replace(placed.root, "Swish", [found.x], {"alpha": alpha})
    return False


def tanh(node: ir.Node) -> bool:
    """(e^x - e^-x) / (e^x + e^-x) is Tanh(x)."""
    difference, total = maker(node.inputs[0], "Sub"), maker(node.inputs[1], "Add")
    if difference is None or total is None or set(difference.inputs) != set(total.inputs):
        return False
    grown, shrunk = (maker(value, "Exp") for value in difference.inputs)
    if grown is None or shrunk is None:
        return False
    x, opposite = grown.inputs[0], maker(shrunk.inputs[0], "Neg")
    if x is None or opposite is None or opposite.inputs[0] is not x:
        return False
    return encloses(node, (difference, total, grown, shrunk, opposite)) and replace(node, "Tanh", [x])


# Softplus and Mish


def _plus_one(value: ir.Value | None, op: str) -> ir.Node | None:
    """The node of this op where the value is 1 + its output and nothing else reads either."""
    for source in sources(value):
        made = maker(source, op)
        if made is None or value is None or not is_private(value):
            continue
        expansion = Expansion([source], source)
        terms, total = expansion.of(value), value.producer()
        wanted = Fraction({monomial({}): 1.0, monomial({source: 1}): 1.0})
        if terms is None or total is None or not equal(terms, wanted, tolerance(source)):
            continue
        return made if encloses(total, {*expansion.nodes, made}) else None
    return None


def softplus(node: ir.Node) -> bool:
    """Log(1 + Exp(x)) is Softplus(x)."""
    exp = _plus_one(node.inputs[0], "Exp")
    return exp is not None and takes("Softplus", exp.inputs[0]) and replace(node, "Softplus", [exp.inputs[0]])


def stable_softplus(node: ir.Node) -> bool:
    """Max(x, 0) + Softplus(-Abs(x)) is Softplus(x)."""
    for positive, rest in (node.inputs, reversed(node.inputs)):
        relu, inner = maker(positive, "Relu"), maker(rest, "Softplus")
        minus = None if inner is None else maker(inner.inputs[0], "Neg")
        size = None if minus is None else maker(minus.inputs[0], "Abs")
        if relu is None or inner is None or minus is None or size is None or size.inputs[0] is not relu.inputs[0]:
            continue
        return encloses(node, (relu, inner, minus, size)) and replace(node, "Softplus", [relu.inputs[0]])
    return False


def mish(node: ir.Node) -> bool:
    """x Tanh(Softplus(x)) is Mish(x)."""
    for x, gate in (node.inputs, reversed(node.inputs)):
        outer = maker(gate, "Tanh")
        inner = maker(outer.inputs[0], "Softplus") if outer is not None else None
        if outer is None or inner is None or inner.inputs[0] is not x or not takes("Mish", x):
            continue
        if is_private(outer.outputs[0]) and is_private(inner.outputs[0]):
            return replace(node, "Mish", [x])
    return False


# clamps of affine functions


def hard_sigmoid(node: ir.Node) -> bool:
    """Clip(alpha x + beta, 0, 1) is HardSigmoid(x)."""
    if scalar(input_at(node, 1)) != 0.0 or scalar(input_at(node, 2)) != 1.0 or not takes("HardSigmoid", node.inputs[0]):
        return False
    line = max((found for found in arguments(node) if _is_line(node, found)), key=lambda f: len(f.nodes), default=None)
    if line is None or not line.nodes:
        return False
    alpha, beta = _line(line)
    return replace(node, "HardSigmoid", [line.x], {"alpha": alpha, "beta": beta})


def _is_line(node: ir.Node, found: Argument) -> bool:
    powers = {monomial({found.x: 1}), monomial({})}
    return found.terms.over.keys() <= powers and _line(found)[0] != 0.0 and encloses(node, found.nodes)


def _line(found: Argument) -> tuple[float, float]:
    """alpha and beta."""
    terms: Mapping[frozenset[tuple[ir.Value, int]], float] = found.terms.over
    return terms.get(monomial({found.x: 1}), 0.0), terms.get(monomial({}), 0.0)


STEPS = (
    Step("softplus", each(softplus, "Log")),
    Step("softplus, stable", each(stable_softplus, "Add")),
    Step("gelu", compose(*GELU), since=20),
    Step("mish", each(mish, "Mul"), since=18),
    Step("mish by exp", compose(MISH), since=18),
    Step("swish by exp, tanh", compose(*SWISH), since=24),
    Step("sigmoid", compose(*SIGMOID)),
    Step("tanh", compose(*TANH)),
    Step("tanh by two exponentials", each(tanh, "Div")),
    Step("swish", each(swish, "Sigmoid"), since=24),
    Step("softsign", compose(SOFTSIGN)),
    Step("hard sigmoid of a line", each(hard_sigmoid, "Clip")),
    *hard.SCALED,
)
