"""Arithmetic written out: what Add, Mul, Div and their like compute is a fraction of polynomials in chosen values.

Written out this way, all orders of operands and all places of the constants are one form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import ml_dtypes

from effc.compiler import ir
from effc.compiler.passes.rewrite import is_standard

Monomial = frozenset[tuple[ir.Value, int]]
"""A product of powers; exponents may be negative."""
Polynomial = Mapping[Monomial, float]
"""Coefficients that are not 0."""

UNIT: Monomial = frozenset()
ONE: Polynomial = {UNIT: 1.0}
_MAX_TERMS, _MAX_NODES, _MAX_POWER = 16, 24, 4
_EXACT = 5e-5
"""By how much a constant may be off, by digits left out: behind a function it is seen at more than 90 dB."""


@dataclass(frozen=True)
class Fraction:
    """over / under."""

    over: Polynomial
    under: Polynomial = field(default_factory=lambda: ONE)


def monomial(powers: Mapping[ir.Value, int]) -> Monomial:
    """The product of powers, those to 0 left out."""
    return frozenset((value, power) for value, power in powers.items() if power)


def number(value: float) -> Fraction:
    """A constant."""
    return Fraction({UNIT: value} if value else {})


def variable(value: ir.Value) -> Fraction:
    """A value that stands for itself."""
    return Fraction({monomial({value: 1}): 1.0})


def _total(a: Polynomial, b: Polynomial) -> Polynomial:
    found = dict(a)
    for key, coefficient in b.items():
        found[key] = found.get(key, 0.0) + coefficient
    return {key: c for key, c in found.items() if c}


def _product(a: Polynomial, b: Polynomial) -> Polynomial:
    found: dict[Monomial, float] = {}
    for p, c in a.items():
        for q, d in b.items():
            powers = dict(p)
            for value, power in q:
                powers[value] = powers.get(value, 0) + power
            key = monomial(powers)
            found[key] = found.get(key, 0.0) + c * d
    return {key: c for key, c in found.items() if c}


def _inverse(a: Fraction) -> Fraction | None:
    """1 / a; what has one term goes up into the numerator."""
    if len(a.over) != 1:
        return Fraction(a.under, a.over) if a.over else None
    ((key, coefficient),) = a.over.items()
    return Fraction(_product(a.under, {monomial({v: -power for v, power in key}): 1.0 / coefficient}))


def _add(*terms: Fraction) -> Fraction:
    found = terms[0]
    for term in terms[1:]:
        if found.under == term.under:
            found = Fraction(_total(found.over, term.over), found.under)
        else:
            over = _total(_product(found.over, term.under), _product(term.over, found.under))
            found = Fraction(over, _product(found.under, term.under))
    return found


def _multiply(a: Fraction, b: Fraction) -> Fraction:
    return Fraction(_product(a.over, b.over), _product(a.under, b.under))


def _negate(a: Fraction) -> Fraction:
    return Fraction({key: -c for key, c in a.over.items()}, a.under)


def _divide(a: Fraction, b: Fraction) -> Fraction | None:
    inverse = _inverse(b)
    return None if inverse is None else _multiply(a, inverse)


def _power(a: Fraction, b: Fraction) -> Fraction | None:
    """a to a small whole number."""
    exponent = b.over.get(UNIT, 0.0)
    if b != number(exponent) or not exponent.is_integer() or not 1 <= abs(exponent) <= _MAX_POWER:
        return None
    found = a
    for _ in range(int(abs(exponent)) - 1):
        found = _multiply(found, a)
    return found if exponent > 0 else _inverse(found)


_OPS: Mapping[str, Callable[..., Fraction | None]] = {
    "Add": _add,
    "Sum": _add,
    "Sub": lambda a, b: _add(a, _negate(b)),
    "Mul": _multiply,
    "Div": _divide,
    "Neg": _negate,
    "Pow": _power,
    "Reciprocal": _inverse,
}


class Expansion:
    """Writes values out in terms of `known` ones. Constants of more than one number stand for themselves.

    Attributes:
        nodes: those whose arithmetic was written out.
    """

    def __init__(self, known: Iterable[ir.Value], like: ir.Value) -> None:
        """`like` has the shape that constants must not widen."""
        self._found: dict[ir.Value, Fraction | None] = {value: variable(value) for value in known}
        self._like = like
        self.nodes: set[ir.Node] = set()

    def of(self, value: ir.Value | None) -> Fraction | None:
        """What the value is, None where something else than known values and constants enters."""
        if value is None:
            return None
        if value not in self._found:
            self._found[value] = self._constant(value) or self._computed(value)
        return self._found[value]

    def _constant(self, value: ir.Value) -> Fraction | None:
        array = ir.const(value)
        if array is None or array.dtype.kind not in "fV" or widens(array.shape, self._like):
            return None
        return number(float(array.flat[0])) if array.size == 1 else variable(value)

    def _computed(self, value: ir.Value) -> Fraction | None:
        node = value.producer()
        if node is None or not is_arithmetic(node) or len(self.nodes) >= _MAX_NODES:
            return None
        self.nodes.add(node)
        operands = []
        for each in node.inputs:
            operand = self.of(each)
            if operand is None:
                return None
            operands.append(operand)
        found = _OPS[node.op_type](*operands)
        return found if found is not None and max(len(found.over), len(found.under)) <= _MAX_TERMS else None


def is_arithmetic(node: ir.Node) -> bool:
    """Whether an Expansion sees through the node."""
    return node.op_type in _OPS and is_standard(node)


def widens(dims: Sequence[int], like: ir.Value) -> bool:
    """Whether a constant of these dims gives `like` a larger shape, or might."""
    shape = ir.shape(like)
    if shape is None or len(dims) > len(shape):
        return len(dims) > 0
    tail = shape[len(shape) - len(dims) :]
    return any(d not in (1, own) for d, own in zip(dims, tail, strict=True))


def equal(a: Fraction, b: Fraction, tolerance: float) -> bool:
    """Whether a = b, coefficient by coefficient."""
    left, right = _product(a.over, b.under), _product(b.over, a.under)
    return left.keys() == right.keys() and all(math.isclose(c, right[k], rel_tol=tolerance) for k, c in left.items())


def multiple(a: Fraction | None, b: Fraction, tolerance: float) -> float | None:
    """The factor by which a is b, 1 where it differs from 1 by rounding alone; None where a is no multiple of b."""
    if a is None or equal(a, b, tolerance):
        return None if a is None else 1.0
    left, right = _product(a.over, b.under), _product(b.over, a.under)
    key = next(iter(right), None)
    factor = 0.0 if key is None else left.get(key, 0.0) / right[key]
    return factor if factor and equal(a, _multiply(b, number(factor)), tolerance) else None


def tolerance(value: ir.Value) -> float:
    """By which part of itself a constant of the value's type may be off: rounding, or digits left out."""
    kind = ir.numpy_dtype(value)
    if kind is None or kind.kind not in "fV" or kind.itemsize > 2:
        return _EXACT
    return float(ml_dtypes.finfo(kind).eps)  # type: ignore[no-untyped-call]


# the neighbourhood of a node


def sources(value: ir.Value | None, limit: int = 12) -> Iterator[ir.Value]:
    """The value and those that it is computed from by arithmetic, nearest first."""
    queue = [value]
    seen: set[ir.Value] = set()
    while queue and len(seen) < limit:
        each = queue.pop(0)
        if each is None or each in seen or ir.const(each) is not None:
            continue
        seen.add(each)
        yield each
        node = each.producer()
        if node is not None and is_arithmetic(node):
            queue += node.inputs


def readers(value: ir.Value, limit: int = 12) -> Iterator[ir.Node]:
    """The nodes that compute by arithmetic from the value, nearest first."""
    queue = [value]
    seen: set[ir.Node] = set()
    while queue and len(seen) < limit:
        each = queue.pop(0)
        for node in each.consumers() if len(each.uses()) <= limit else ():
            if is_arithmetic(node) and node not in seen:
                seen.add(node)
                yield node
                queue.append(node.outputs[0])


def encloses(root: ir.Node, inner: Iterable[ir.Node]) -> bool:
    """Whether nothing but the root's output is read outside of the root and `inner`."""
    nodes = {*inner, root}
    inside = {value for node in nodes - {root} for value in node.outputs}
    return all(not v.is_graph_output() and all(use.node in nodes for use in v.uses()) for v in inside)
