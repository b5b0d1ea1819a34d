"""Activations of two pieces that exporters write out: leaky, exponential and parametric rectifiers."""

from __future__ import annotations

import math

import numpy as np

from effc.compiler import ir
from effc.compiler.passes.forms import arguments, takes
from effc.compiler.passes.fuse import bounds
from effc.compiler.passes.polynomials import (
    UNIT,
    Expansion,
    Fraction,
    encloses,
    equal,
    monomial,
    readers,
    tolerance,
)
from effc.compiler.passes.rewrite import constant, each, is_private, maker, replace, same_shape, scalar
from effc.compiler.phase import Step

_ABOVE, _BELOW = ("Greater", "GreaterOrEqual"), ("Less", "LessOrEqual")


def leaky_relu(node: ir.Node) -> bool:
    """Max(x, alpha x) with alpha from 0 to 1 is LeakyRelu(x)."""
    if len(node.inputs) != 2 or not takes("LeakyRelu", node.outputs[0]):
        return False
    for x, other in (node.inputs, reversed(node.inputs)):
        alpha = _slope(node, x, other)
        if alpha is not None and 0.0 <= alpha <= 1.0:
            return replace(node, "LeakyRelu", [x], {"alpha": alpha})
    return False


def _slope(root: ir.Node, x: ir.Value | None, value: ir.Value | None) -> float | None:
    """alpha where the value is alpha x, computed for `root` alone."""
    if x is None or ir.const(x) is not None:
        return None
    expansion = Expansion([x], x)
    terms = expansion.of(value)
    alpha = None if terms is None else terms.over.get(monomial({x: 1}))
    if terms is None or alpha is None or terms != Fraction({monomial({x: 1}): alpha}) or not expansion.nodes:
        return None
    return alpha if encloses(root, expansion.nodes) else None


def leaky_relu_by_abs(node: ir.Node) -> bool:
    """(1 + alpha) x / 2 + (1 - alpha) Abs(x) / 2 is LeakyRelu(x)."""
    x, a = node.inputs[0], node.outputs[0]
    if x is None or not takes("LeakyRelu", x):
        return False
    for root in readers(a):
        expansion = Expansion([x, a], x)
        terms = expansion.of(root.outputs[0])
        if terms is None or terms.over.keys() != {monomial({x: 1}), monomial({a: 1})}:
            continue
        kept, folded = terms.over[monomial({x: 1})], terms.over[monomial({a: 1})]
        if terms == Fraction(terms.over) and math.isclose(kept + folded, 1.0, rel_tol=tolerance(x)):
            fused = encloses(root, {*expansion.nodes, node})
            return fused and replace(root, "LeakyRelu", [x], {"alpha": kept - folded})
    return False


def selected(node: ir.Node) -> bool:
    """Where(x > 0, x, f(x)) is LeakyRelu(x) for f(x) = alpha x and Elu(x) for alpha (e^x - 1)."""
    test = maker(node.inputs[0], *_ABOVE, *_BELOW)
    if test is None or scalar(test.inputs[1]) != 0.0 or not is_private(test.outputs[0]):
        return False
    x, positive, negative = test.inputs[0], node.inputs[1], node.inputs[2]
    if test.op_type in _BELOW:
        positive, negative = negative, positive
    if x is None or positive is not x or not takes("Elu", x) or not same_shape(x, node.outputs[0]):
        return False
    alpha = _slope(node, x, negative)
    if alpha is not None:
        return replace(node, "LeakyRelu", [x], {"alpha": alpha})
    return _elu(node, x, negative, (test,))


def _elu(root: ir.Node, x: ir.Value, value: ir.Value | None, others: tuple[ir.Node, ...]) -> bool:
    """Put Elu(x) in the place of `root` if the value is alpha (e^x - 1)."""
    for exp in [node for node in x.consumers() if node.op_type == "Exp"]:
        a = exp.outputs[0]
        expansion = Expansion([a], x)
        terms = expansion.of(value)
        alpha = 0.0 if terms is None else terms.over.get(monomial({a: 1}), 0.0)
        wanted = Fraction({monomial({a: 1}): alpha, UNIT: -alpha})
        if terms is not None and alpha > 0.0 and equal(terms, wanted, tolerance(x)):
            return encloses(root, {*expansion.nodes, exp, *others}) and replace(root, "Elu", [x], {"alpha": alpha})
    return False


def elu(node: ir.Node) -> bool:
    """Relu(x) + Min(0, alpha (e^x - 1)) is Elu(x)."""
    for positive, rest in (node.inputs, reversed(node.inputs)):
        relu, low = maker(positive, "Relu"), maker(rest, "Min", "Clip")
        if relu is not None and low is not None and _capped(low) is not None and relu.inputs[0] is not None:
            return takes("Elu", relu.inputs[0]) and _elu(node, relu.inputs[0], _capped(low), (relu, low))
    return False


def _capped(node: ir.Node) -> ir.Value | None:
    """y where the node is Min(y, 0)."""
    if node.op_type == "Clip":
        return node.inputs[0] if bounds(node) == (-math.inf, 0.0) else None
    if len(node.inputs) != 2:
        return None
    return next((y for y, zero in (node.inputs, reversed(node.inputs)) if _is_zero(zero)), None)


def _is_zero(value: ir.Value | None) -> bool:
    return scalar(value) == 0.0 and ir.rank(value) == 0


def selu(node: ir.Node) -> bool:
    """gamma Elu(x) is Selu(x)."""
    inner, gamma = maker(node.inputs[0], "Elu"), ir.const(node.inputs[1])
    if inner is None or gamma is None or gamma.size != 1 or not is_private(inner.outputs[0]):
        return False
    if gamma.ndim > ir.rank(inner.outputs[0]) or not takes("Selu", inner.inputs[0]):
        return False
    attributes = {"alpha": ir.attr_float(inner, "alpha", 1.0), "gamma": float(gamma.ravel()[0])}
    return replace(node, "Selu", [inner.inputs[0]], attributes)


def parametric(node: ir.Node) -> bool:
    """Relu(x) - slope Relu(-x) is PRelu(x), and LeakyRelu(x) for a slope of one number."""
    found = next((f for f in arguments(node) if f.terms == Fraction({monomial({f.x: 1}): -1.0}) and f.nodes), None)
    if found is None or not takes("PRelu", found.x):
        return False
    x, below = found.x, node.outputs[0]
    for relu in [other for other in x.consumers() if other.op_type == "Relu"]:
        above = relu.outputs[0]
        for root in readers(below):
            expansion = Expansion([above, below], x)
            terms = expansion.of(root.outputs[0])
            if terms is not None and terms.over.get(monomial({above: 1})) == 1.0 and len(terms.over) == 2:
                inner = {*expansion.nodes, *found.nodes, node, relu}
                return terms == Fraction(terms.over) and encloses(root, inner) and _slopes(root, x, below, terms)
    return False


def _slopes(root: ir.Node, x: ir.Value, below: ir.Value, terms: Fraction) -> bool:
    for key, coefficient in terms.over.items():
        powers = dict(key)
        if powers.pop(below, 0) != 1:
            continue
        if not powers:
            return replace(root, "LeakyRelu", [x], {"alpha": -coefficient})
        slope = ir.const(next(iter(powers)))
        if slope is not None and list(powers.values()) == [1]:
            scaled = np.asarray(slope * np.asarray(-coefficient, slope.dtype), slope.dtype)
            return replace(root, "PRelu", [x, constant(root, "slope", scaled)])
    return False


STEPS = (
    Step("leaky relu", each(leaky_relu, "Max")),
    Step("leaky relu by abs", each(leaky_relu_by_abs, "Abs")),
    Step("leaky relu, elu by where", each(selected, "Where")),
    Step("elu", each(elu, "Add")),
    Step("selu", each(selu, "Mul")),
    Step("parametric relu", each(parametric, "Relu")),
)
