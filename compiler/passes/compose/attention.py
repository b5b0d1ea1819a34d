"""Scaled dot-product attention that exporters write out, as one op."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from effc.compiler import ir
from effc.compiler.edit import Before
from effc.compiler.passes.compose.dims import Dims, fill_alike
from effc.compiler.passes.polynomials import Expansion, Fraction, encloses, monomial, sources
from effc.compiler.passes.rewrite import each, maker, only_reader, replace, same_shape
from effc.compiler.phase import Step

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
_HEADS_FIRST = (0, 2, 1, 3)


@dataclass(frozen=True)
class Scaled:
    """A value as factor * base, computed by `nodes`."""

    base: ir.Value
    factor: float
    nodes: frozenset[ir.Node]


@dataclass(frozen=True)
class Scores:
    """factor * q k^T + mask, with k as it is before the transposition by `perm`."""

    q: ir.Value
    k: ir.Value
    perm: tuple[int, ...]
    mask: ir.Value | None
    factor: float
    nodes: frozenset[ir.Node]


def attention(node: ir.Node) -> bool:
    """Softmax(factor * q k^T + mask) v is Attention(q, k, v, mask) with that scale."""
    softmax, v = maker(node.inputs[0], "Softmax"), node.inputs[1]
    rank = ir.rank(node.inputs[0])
    if softmax is None or v is None or v.dtype not in _FLOATS or rank not in (3, 4) or ir.rank(v) != rank:
        return False
    found = None if ir.attr_int(softmax, "axis", -1) not in (-1, rank - 1) else _scores(softmax.inputs[0], rank)
    scores = ir.shape(softmax.inputs[0]) or ()
    if found is None or not _fit(found, v) or not encloses(node, {softmax, *found.nodes}):
        return False
    if not _may_fill(found.mask, scores):
        return False
    heads = {"q_num_heads": 1, "kv_num_heads": 1} if rank == 3 else {}
    key = found.k
    if found.perm == (0, 2, 3, 1):
        key = Before(node).op("Transpose", found.k, perm=list(_HEADS_FIRST))
    inputs: list[ir.Value | None] = [found.q, key, v]
    if found.mask is not None:
        inputs.append(_filled(node, found.mask, scores))
    return replace(node, "Attention", inputs, {"scale": found.factor, **heads})


def _may_fill(mask: ir.Value | None, scores: Dims) -> bool:
    """Whether the mask's last two axes are the scores', or may be expanded to them."""
    dims = (ir.shape(mask) or ())[-2:]
    return mask is None or all(
        d == wanted != "?" or (d == 1 and isinstance(wanted, int)) for d, wanted in zip(dims, scores[-2:], strict=True)
    )


def _filled(node: ir.Node, mask: ir.Value, scores: Dims) -> ir.Value:
    """The mask with a row for each query and a column for each key, as ONNX Runtime wants it."""
    dims = ir.shape(mask) or ()
    wanted = [w if d != w and isinstance(w, int) else 1 for d, w in zip(dims[-2:], scores[-2:], strict=True)]
    if wanted == [1, 1]:
        return mask
    before = Before(node)
    shape = np.array([1] * (len(dims) - 2) + wanted, np.int64)
    return before.op("Expand", mask, before.const("mask_shape", shape))


def _scores(value: ir.Value | None, rank: int) -> Scores | None:
    total = maker(value, "Add")
    if total is None:
        return _masked(value, None, rank, frozenset())
    for scores, mask in (total.inputs, reversed(total.inputs)):
        if scores is None or not same_shape(scores, total.outputs[0]) or not _is_mask(mask, scores):
            continue
        found = _masked(scores, mask, rank, frozenset({total}))
        if found is not None:
            return found
    return None


def _is_mask(mask: ir.Value | None, scores: ir.Value) -> bool:
    """Whether the value is what Attention takes for a mask: of its type, and of two or four axes."""
    return mask is not None and mask.dtype == scores.dtype and ir.rank(mask) in (2, 4)


def _masked(value: ir.Value | None, mask: ir.Value | None, rank: int, nodes: frozenset[ir.Node]) -> Scores | None:
    scaled = _scaled(value, "MatMul")
    product = None if scaled is None else scaled.base.producer()
    if scaled is None or product is None or (mask is not None and rank == 3 and ir.rank(mask) != 2):
        return None
    left, right = _scaled(product.inputs[0]), _scaled(product.inputs[1], "Transpose")
    turned = None if right is None else right.base.producer()
    if left is None or right is None or turned is None or turned.inputs[0] is None:
        return None
    perm = ir.attr_ints(turned, "perm", ())
    if perm not in ((0, 2, 1), (0, 1, 3, 2), (0, 2, 3, 1)):
        return None
    inner = nodes | scaled.nodes | left.nodes | right.nodes | {product, turned}
    return Scores(left.base, turned.inputs[0], perm, mask, scaled.factor * left.factor * right.factor, inner)


def _scaled(value: ir.Value | None, *ops: str) -> Scaled | None:
    """The value as a multiple of one that a node of these ops makes; without ops, of the farthest there is."""
    found = None
    for base in sources(value):
        expansion = Expansion([base], base)
        terms = expansion.of(value)
        factor = None if terms is None else terms.over.get(monomial({base: 1}))
        if factor is None or terms != Fraction({monomial({base: 1}): factor}) or (ops and maker(base, *ops) is None):
            continue
        found = Scaled(base, factor, frozenset(expansion.nodes))
        if ops:
            return found
    return found


def _fit(found: Scores, v: ir.Value) -> bool:
    """Whether q, k and v agree in batch and heads, and k and v in length, so that nothing is broadcast."""
    dims = [ir.shape(value) for value in (found.q, found.k, v)]
    if any(each is None or len(each) != len(found.perm) for each in dims):
        return False
    q, k, w = (each or () for each in dims)
    k = tuple(k[axis] for axis in _HEADS_FIRST) if found.perm == (0, 2, 3, 1) else k
    return "?" not in q[:-2] and q[:-2] == k[:-2] == w[:-2]


# heads


def joined_heads(node: ir.Node) -> bool:
    """Attention between Reshape, Transpose to heads and back is Attention of rank 3, which divides heads itself."""
    if node.attributes.get("q_num_heads") or len(node.outputs) != 1:
        return False
    whole = [_before_heads(value) for value in node.inputs[:3]]
    heads = [(ir.shape(value) or (0, 0))[1] for value in node.inputs[:2]]
    end = _after_heads(node)
    if end is None or any(value is None for value in whole) or not all(isinstance(h, int) and h > 0 for h in heads):
        return False
    attributes = {"scale": ir.attr_float(node, "scale", 1.0), "q_num_heads": heads[0], "kv_num_heads": heads[1]}
    return replace(end, "Attention", [*whole, *node.inputs[3:]], attributes)


def _before_heads(value: ir.Value | None) -> ir.Value | None:
    """x of [batch, length, heads * size] where the value is [batch, heads, length, size]."""
    turned = maker(value, "Transpose")
    split = None if turned is None else maker(turned.inputs[0], "Reshape")
    if turned is None or split is None or ir.attr_ints(turned, "perm", ()) != _HEADS_FIRST:
        return None
    x, parts = split.inputs[0], split.outputs[0]
    return x if _is_split(x, parts) else None


def _is_split(whole: ir.Value | None, parts: ir.Value) -> bool:
    """Whether the last axis of one is the last two of the other."""
    a, b = ir.shape(whole) or (), ir.shape(parts) or ()
    if len(a) != 3 or len(b) != 4:
        return False
    width, count, size = a[2], b[2], b[3]
    if not isinstance(width, int) or not isinstance(count, int) or not isinstance(size, int):
        return False
    return width == count * size and fill_alike(a[:2], b[:2])


def _after_heads(node: ir.Node) -> ir.Node | None:
    """The Reshape that puts the heads together again."""
    turned = only_reader(node.outputs[0])
    if turned is None or turned.op_type != "Transpose" or ir.attr_ints(turned, "perm", ()) != _HEADS_FIRST:
        return None
    joined = only_reader(turned.outputs[0])
    if joined is None or joined.op_type != "Reshape":
        return None
    return joined if _is_split(joined.outputs[0], turned.outputs[0]) else None


STEPS = (
    Step("attention", each(attention, "MatMul"), since=23),
    Step("attention of all heads", each(joined_heads, "Attention"), since=23),
)
