"""Functions of one tensor that are written out around one node, and the op that they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from effc.compiler import ir
from effc.compiler.edit import Before
from effc.compiler.passes.polynomials import (
    ONE,
    Expansion,
    Fraction,
    Polynomial,
    encloses,
    equal,
    monomial,
    multiple,
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
_IN_DOUBLE = frozenset({"Sigmoid", "Swish", "Tanh"})
_UNDER: Mixed = {(0, 0): 1.0}


def _always(_: ir.Node) -> bool:
    return True


@dataclass(frozen=True)
class Form:
    """`op(x)` is over(x, a) / under(x, a) with a = anchor(inner(x)).

    Attributes:
        when: what else must hold of the anchor.
        scaled: whether a multiple of it is worth a Mul behind the op.
        attributes: of the op.
    """

    anchor: str
    inner: Powers
    over: Mixed
    op: str
    under: Mixed = field(default_factory=lambda: _UNDER)
    attributes: Mapping[str, object] = field(default_factory=dict)
    when: Callable[[ir.Node], bool] = _always
    scaled: bool = False


def takes(op: str, x: ir.Value | None) -> bool:
    """Whether x is of a type that runtimes compute the op in: ONNX Runtime has few activations in float64."""
    return x is not None and is_float(x) and (x.dtype != ir.DataType.DOUBLE or op in _IN_DOUBLE)


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
        return any(
            form.anchor == node.op_type and takes(form.op, node.inputs[0]) and form.when(node) and _compose(form, node)
            for form in forms
        )

    return each(rule, *{form.anchor for form in forms})


def _compose(form: Form, anchor: ir.Node) -> bool:
    for found in arguments(anchor):
        if equal(found.terms, Fraction(_powers(form.inner, found.x)), tolerance(found.x)):
            return _fuse(form, anchor, found)
    return False


def _fuse(form: Form, anchor: ir.Node, found: Argument) -> bool:
    over, under = (_mixed(each, found.x, anchor.outputs[0]) for each in (form.over, form.under))
    placed = place(anchor, found, Fraction(over, under))
    if placed is None or (placed.factor != 1.0 and not form.scaled):
        return False
    if placed.factor == 1.0:
        return replace(placed.root, form.op, [found.x], form.attributes)
    before = Before(placed.root)
    factor = before.const("factor", np.asarray(placed.factor, ir.numpy_dtype(found.x)))
    return before.replace(before.op("Mul", before.op(form.op, found.x, **form.attributes), factor))


@dataclass(frozen=True)
class Place:
    """The node whose output is `factor` times what is looked for."""

    root: ir.Node
    factor: float


def place(anchor: ir.Node, found: Argument, wanted: Fraction) -> Place | None:
    """Where something is computed from x and the anchor, while nothing that leads to it is read elsewhere.

    The first place where it is itself, else the last where it is a multiple.
    """
    last = None
    for root in readers(anchor.outputs[0]):
        expansion = Expansion([found.x, anchor.outputs[0]], found.x)
        factor = multiple(expansion.of(root.outputs[0]), wanted, tolerance(found.x))
        if factor is not None and encloses(root, {*expansion.nodes, *found.nodes, anchor}):
            last = Place(root, factor)
            if factor == 1.0:
                break
    return last


def _powers(coefficients: Powers, x: ir.Value) -> Polynomial:
    return {monomial({x: power}): c for power, c in coefficients.items()}


def _mixed(coefficients: Mixed, x: ir.Value, a: ir.Value) -> Polynomial:
    return {monomial({x: i, a: j}): c for (i, j), c in coefficients.items()}
