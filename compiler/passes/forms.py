"""Functions of one tensor that are written out around one node, and the op that they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from effc.compiler import ir
from effc.compiler.passes.polynomials import (
    ONE,
    Expansion,
    Fraction,
    Polynomial,
    encloses,
    equal,
    monomial,
    readers,
    sources,
    tolerance,
)
from effc.compiler.passes.rewrite import each, is_float, replace
from effc.compiler.phase import Transform

Powers = Mapping[int, float]
"""Coefficients of a polynomial in x, by exponent."""
Mixed = Mapping[tuple[int, int], float]
"""Coefficients of a polynomial in x and a, by both exponents."""
_UNDER: Mixed = {(0, 0): 1.0}


def _always(_: ir.Node) -> bool:
    return True


@dataclass(frozen=True)
class Form:
    """`op(x)` is over(x, a) / under(x, a) with a = anchor(inner(x)).

    Attributes:
        when: what else must hold of the anchor.
        attributes: of the op.
    """

    anchor: str
    inner: Powers
    over: Mixed
    op: str
    under: Mixed = field(default_factory=lambda: _UNDER)
    attributes: Mapping[str, object] = field(default_factory=dict)
    when: Callable[[ir.Node], bool] = _always


@dataclass(frozen=True)
class Argument:
    """A node's first input as it is computed from x: `terms`, by `nodes`."""

    x: ir.Value
    terms: Fraction
    nodes: frozenset[ir.Node]


def arguments(node: ir.Node) -> Iterator[Argument]:
    """What the node's input may be a polynomial of, nearest first."""
    for x in sources(node.inputs[0]):
        expansion = Expansion([x], x)
        terms = expansion.of(node.inputs[0])
        if terms is not None and terms.under == ONE:
            yield Argument(x, terms, frozenset(expansion.nodes))


def compose(*forms: Form) -> Transform:
    """The transformation that finds forms by their anchors."""

    def rule(node: ir.Node) -> bool:
        if not is_float(node.outputs[0]):
            return False
        return any(form.anchor == node.op_type and form.when(node) and _compose(form, node) for form in forms)

    return each(rule, *{form.anchor for form in forms})


def _compose(form: Form, anchor: ir.Node) -> bool:
    for found in arguments(anchor):
        if equal(found.terms, Fraction(_powers(form.inner, found.x)), tolerance(found.x)):
            return _fuse(form, anchor, found)
    return False


def _fuse(form: Form, anchor: ir.Node, found: Argument) -> bool:
    over, under = (_mixed(each, found.x, anchor.outputs[0]) for each in (form.over, form.under))
    root = place(anchor, found, Fraction(over, under))
    return root is not None and replace(root, form.op, [found.x], form.attributes)


def place(anchor: ir.Node, found: Argument, wanted: Fraction) -> ir.Node | None:
    """The node whose output is `wanted`, where nothing that leads to it is read elsewhere."""
    for root in readers(anchor.outputs[0]):
        expansion = Expansion([found.x, anchor.outputs[0]], found.x)
        terms = expansion.of(root.outputs[0])
        if terms is not None and equal(terms, wanted, tolerance(found.x)):
            return root if encloses(root, {*expansion.nodes, *found.nodes, anchor}) else None
    return None


def _powers(coefficients: Powers, x: ir.Value) -> Polynomial:
    return {monomial({x: power}): c for power, c in coefficients.items()}


def _mixed(coefficients: Mixed, x: ir.Value, a: ir.Value) -> Polynomial:
    return {monomial({x: i, a: j}): c for (i, j), c in coefficients.items()}
