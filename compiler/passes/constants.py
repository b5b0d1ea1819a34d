"""Arithmetic with constants done once, and pairs of ops that are one: x * a * b is x * (a b), -(-x) is x."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from effc.compiler import ir
from effc.compiler.passes import bands, casts
from effc.compiler.passes.rewrite import (
    bypass,
    constant,
    each,
    input_at,
    is_float,
    is_private,
    maker,
    replace,
    same_shape,
    scalar,
    stand_in,
)
from effc.compiler.passes.targets import same_but_ones, target
from effc.compiler.phase import Step

_FACTORS, _TERMS = ("Mul", "Div"), ("Add", "Sub")
Numbers = NDArray[np.float64]
Kind = np.dtype[np.generic]
_SMALL_BYTES = 1024


# constants that follow each other


def constants(node: ir.Node) -> bool:
    """(x ~ a) ~ b is x ~ c for products and quotients of floats, and for sums and differences, in any order of both."""
    kind = _FACTORS if node.op_type in _FACTORS else _TERMS
    inner, b = maker(node.inputs[0], *kind), ir.const(node.inputs[1])
    if inner is None or b is None or not is_private(inner.outputs[0]) or not is_float(node.outputs[0]):
        return False
    x, a = inner.inputs[0], ir.const(inner.inputs[1])
    if a is None or x is None or not _fits(a, b, node):
        return False
    total = (_sum if kind is _TERMS else _product)(_amount(a, inner), _amount(b, node), a.dtype)
    if total is None or not same_but_rank(x, inner.outputs[0]):
        return False
    if kind is _FACTORS and not _may_follow(x, _amount(a, inner), a.dtype):
        return False
    return replace(node, kind[0], [x, constant(node, "constant", total.astype(a.dtype))])


def _amount(array: ir.Array, node: ir.Node) -> Numbers:
    """What the node adds, or multiplies by, if the array is its second operand."""
    numbers = np.asarray(array, np.float64)
    if node.op_type == "Div":
        with np.errstate(divide="ignore"):
            return 1.0 / numbers
    return -numbers if node.op_type == "Sub" else numbers


def _product(a: Numbers, b: Numbers, kind: Kind) -> Numbers | None:
    """a b, where both and all products of their entries are tame."""
    tame = bands.is_tame(kind, a) and bands.is_tame(kind, b) and bands.is_tame(kind, a, b)
    return a * b if tame else None


def _sum(a: Numbers, b: Numbers, kind: Kind) -> Numbers | None:
    """a + b, where what is added first is not so large that it rounds x away before the second takes it back."""
    total = a + b
    calm = np.maximum(bands.calm(kind), 4 * np.abs(total))
    sound = np.isfinite(total) & (4 * np.abs(total) < bands.largest(kind) ** 2)
    return total if np.all(sound & (np.maximum(np.abs(a), np.abs(b)) <= calm)) else None


def _may_follow(x: ir.Value, a: Numbers, kind: Kind) -> bool:
    """Whether x is no product with a constant that together with this one leaves the safe range."""
    before = maker(x, *_FACTORS)
    earlier = None if before is None else ir.const(before.inputs[1])
    return before is None or earlier is None or bands.is_tame(kind, _amount(ir.distinct(earlier), before), a)


def _fits(a: ir.Array, b: ir.Array, node: ir.Node) -> bool:
    """Whether the constant for both is about as large as the two, and no splat is written out."""
    dims = np.broadcast_shapes(a.shape, b.shape) if _broadcastable(a, b) else None
    size = None if dims is None else int(np.prod(dims)) * a.itemsize
    limit = max(a.nbytes, b.nbytes, _SMALL_BYTES)
    return size is not None and size <= limit and not (ir.is_splat(a) or ir.is_splat(b)) and a.dtype == b.dtype


def _broadcastable(a: ir.Array, b: ir.Array) -> bool:
    pairs = zip(reversed(a.shape), reversed(b.shape), strict=False)
    return all(m == n or 1 in (m, n) for m, n in pairs)


def same_but_rank(x: ir.Value, y: ir.Value) -> bool:
    """Whether a constant combined with x gives y's rank, so that constants of more dims than x stay where they are."""
    return ir.shape(x) is not None and ir.rank(x) == ir.rank(y)


# signs and inverses


def undone(node: ir.Node) -> bool:
    """-(-x), not not x and 1 / (1 / x) are x; |(|x|)|, floor(floor(x)) and their like are the inner one."""
    inner = maker(node.inputs[0], node.op_type)
    if inner is None or inner.inputs[0] is None:
        return False
    kept = inner.inputs[0] if node.op_type in ("Neg", "Not", "Reciprocal") else inner.outputs[0]
    return bypass(node, kept)


def of_negative(node: ir.Node) -> bool:
    """a + (-b) is a - b, a - (-b) is a + b, (-a) + b is b - a; -(a - b) is b - a."""
    if node.op_type == "Neg":
        inner = maker(node.inputs[0], "Sub")
        private = inner is not None and is_private(inner.outputs[0])
        return inner is not None and private and replace(node, "Sub", [inner.inputs[1], inner.inputs[0]])
    a, b = node.inputs
    second = maker(b, "Neg")
    if second is not None:
        return replace(node, "Sub" if node.op_type == "Add" else "Add", [a, second.inputs[0]])
    first = maker(a, "Neg") if node.op_type == "Add" else None
    return first is not None and replace(node, "Sub", [b, first.inputs[0]])


def negated(node: ir.Node) -> bool:
    """-(x * c) and (-x) * c are x * (-c) for a constant c of floats, and so for quotients of both kinds."""
    product, minus = (node, None) if node.op_type in _FACTORS else (maker(node.inputs[0], *_FACTORS), node)
    if product is None or not is_float(node.outputs[0]) or (minus is node and not is_private(product.outputs[0])):
        return False
    inputs = list(product.inputs)
    slot = next((i for i, value in enumerate(inputs) if ir.const(value) is not None), None)
    array = None if slot is None else ir.const(inputs[slot])
    if slot is None or array is None or ir.is_splat(array) or not _is_own(inputs[slot], array):
        return False
    if minus is None:
        minus = maker(inputs[1 - slot], "Neg")
        if minus is None or not is_private(minus.outputs[0]):
            return False
        inputs[1 - slot] = minus.inputs[0]
    inputs[slot] = constant(node, "negative", np.negative(array))
    return replace(node, product.op_type, inputs)


def times_minus_one(node: ir.Node) -> bool:
    """x * -1 and x / -1 are -x."""
    x, sign = node.inputs
    fits = scalar(sign) == -1.0 and ir.rank(sign) <= ir.rank(x) and all(d == 1 for d in ir.shape(sign) or ())
    return fits and is_float(x) and replace(node, "Neg", [x])


def _is_own(value: ir.Value | None, array: ir.Array) -> bool:
    """Whether another constant in the place of this one takes no room."""
    return array.nbytes <= _SMALL_BYTES or (value is not None and len(value.uses()) == 1)


def by_reciprocal(node: ir.Node) -> bool:
    """a * (1 / b) is a / b, for 1 / b as Reciprocal or as Div."""
    for a, other in (node.inputs, reversed(node.inputs)):
        made = maker(other, "Reciprocal", "Div")
        if made is None or other is None or not is_private(other) or not is_float(other):
            continue
        if made.op_type == "Div" and scalar(made.inputs[0]) != 1.0:
            continue
        divisor = made.inputs[-1]
        if made.op_type == "Reciprocal" or ir.rank(made.outputs[0]) == ir.rank(divisor):
            return replace(node, "Div", [a, divisor])
    return False


# casts


def cast_chain(node: ir.Node) -> bool:
    """Cast(Cast(x, A), B) is Cast(x, B) where A keeps of x what B does."""
    inner = maker(node.inputs[0], "Cast")
    x = None if inner is None else inner.inputs[0]
    kinds = [None if v is None else v.dtype for v in (x, node.inputs[0], node.outputs[0])]
    if x is None or any(kind is None or not casts.is_plain(kind) for kind in kinds):
        return False
    first, between, last = (kind for kind in kinds if kind is not None)
    if not casts.is_one(first, between, last):
        return False
    return stand_in(node, x) if first == last else replace(node, "Cast", [x], node.attributes)


# choices


def where_known(node: ir.Node) -> bool:
    """Where(true, a, b) is a and Where(c, a, a) is a, of the result's shape."""
    condition, a, b = node.inputs
    array = ir.const(condition)
    kept = a if a is b else None
    if array is not None and array.size and (array.all() or not array.any()):
        kept = a if array.all() else b
    return kept is not None and same_shape(kept, node.outputs[0]) and bypass(node, kept)


def where_not(node: ir.Node) -> bool:
    """Where(not c, a, b) is Where(c, b, a)."""
    inverted = maker(node.inputs[0], "Not")
    return inverted is not None and replace(node, "Where", [inverted.inputs[0], node.inputs[2], node.inputs[1]])


# reductions


def reduced_ones(node: ir.Node) -> bool:
    """The mean, sum, product, least or greatest over dims of 1 is x, in the result's shape."""
    x, out = node.inputs[0], node.outputs[0]
    axes, dims, after = ir.const(input_at(node, 1)), ir.shape(x), ir.shape(out)
    if axes is None or dims is None or after is None or x is None or not axes.size:
        return False
    if any(dims[int(a)] != 1 for a in axes.ravel()):
        return False
    if dims == after and "?" not in dims:
        return bypass(node, x)
    entries = target(after, dims)
    return entries is not None and replace(node, "Reshape", [x, constant(node, "shape", entries)])


def kept_dims(node: ir.Node) -> bool:
    """Reshape(Reduce(x, axes)) that puts dims of 1 where axes were reduced away, or drops them, is one Reduce."""
    inner = node.inputs[0].producer() if node.inputs[0] is not None else None
    if inner is None or not inner.op_type.startswith("Reduce") or not is_private(inner.outputs[0]):
        return False
    axes, dims, after = ir.const(input_at(inner, 1)), ir.shape(inner.inputs[0]), ir.shape(node.outputs[0])
    if axes is None or dims is None or after is None or not axes.size:
        return False
    gone = {int(a) % len(dims) for a in axes.ravel()}
    kept = tuple(1 if axis in gone else d for axis, d in enumerate(dims))
    dropped = tuple(d for axis, d in enumerate(dims) if axis not in gone)
    for keep, shape in ((1, kept), (0, dropped)):
        if len(shape) == len(after) and _same_dims(shape, after):
            return replace(node, inner.op_type, list(inner.inputs), {**inner.attributes, "keepdims": keep})
    return False


def _same_dims(a: tuple[int | str, ...], b: tuple[int | str, ...]) -> bool:
    """Equal dims at equal places, where one unknown stands for itself."""
    return same_but_ones(a, b) and all((m == 1) == (n == 1) for m, n in zip(a, b, strict=True))


REDUCE_ONES = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")

STEPS = (
    Step("constants in a row", each(constants, *_FACTORS, *_TERMS)),
    Step("undone twice", each(undone, "Neg", "Not", "Reciprocal", "Abs", "Ceil", "Floor", "Round", "Sign")),
    Step("negatives", each(of_negative, "Neg", *_TERMS)),
    Step("minus one", each(times_minus_one, *_FACTORS)),
    Step("negative constants", each(negated, "Neg", *_FACTORS)),
    Step("reciprocals", each(by_reciprocal, "Mul")),
    Step("chained casts", each(cast_chain, "Cast")),
    Step("known choices", each(where_known, "Where")),
    Step("inverted choices", each(where_not, "Where")),
    Step("reductions of ones", each(reduced_ones, *REDUCE_ONES)),
    Step("reductions and reshapes", each(kept_dims, "Reshape")),
)
