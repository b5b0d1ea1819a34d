"""Normalizations that exporters write out: over the last axes, and over all pixels of a channel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from effc.compiler import ir
from effc.compiler.passes.compose.spreads import Spread, spread
from effc.compiler.passes.compose.vectors import Fit, Held, over_channels, over_last
from effc.compiler.passes.polynomials import ONE, UNIT, Expansion, Fraction, encloses, monomial, readers
from effc.compiler.passes.rewrite import each, is_float, maker, only_reader, replace
from effc.compiler.phase import Step

_ROUNDED = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
"""What LayerNormalization computes in float32 without a loss."""
MAX_ONES = 4096
"""Elements of a scale that is made for nothing but the op's sake."""


@dataclass(frozen=True)
class Normalized:
    """`root` gives scale * (x - centre) / spread + shift."""

    root: ir.Node
    spread: Spread
    scale: Held
    shift: Held


def ends(node: ir.Node) -> Iterator[Normalized]:
    """All places to which a normalization may reach that has this node for its spread, farthest first."""
    found = spread(node)
    if found is None or not is_float(found.x):
        return
    known = [value for value in (found.x, found.centre, node.outputs[0]) if value is not None]
    matches: list[Normalized] = []
    for root in readers(node.outputs[0]):
        expansion = Expansion(known, found.x)
        terms = expansion.of(root.outputs[0])
        affine = None if terms is None else _affine(terms, found)
        if affine is not None and encloses(root, {*expansion.nodes, *found.nodes}):
            matches.append(Normalized(root, found, *affine))
    yield from reversed(matches)


def _affine(terms: Fraction, found: Spread) -> tuple[Held, Held] | None:
    """Scale and shift where the terms are scale * (x - centre) / spread + shift."""
    left = dict(terms.over)
    unit = {found.x: 1, found.node.outputs[0]: found.power}
    key = next((k for k in left if unit.items() <= dict(k).items()), None)
    if key is None or terms.under != ONE:
        return None
    factor, others = left.pop(key), {v: p for v, p in key if v not in unit}
    if found.centre is not None:
        opposite = monomial({**others, found.centre: 1, found.node.outputs[0]: found.power})
        if not math.isclose(left.pop(opposite, 0.0), -factor):
            return None
    if len(left) > 1:
        return None
    scale = _constant(monomial(others), factor, found.x)
    shift = _constant(*next(iter(left.items()), (UNIT, 0.0)), found.x)
    return None if scale is None or shift is None else (scale, shift)


def _constant(key: frozenset[tuple[ir.Value, int]], factor: float, like: ir.Value) -> Held | None:
    """factor * constant, None where the key is more than one constant."""
    if not key:
        return Held(np.asarray(factor, ir.numpy_dtype(like)))
    (value, power), *more = key
    array = ir.const(value)
    if more or power != 1 or array is None:
        return None
    return Held(array, value) if factor == 1.0 else Held(np.asarray(array * np.asarray(factor, array.dtype)))


def layer_norm(node: ir.Node) -> bool:
    """scale * (x - mean(x)) / sqrt(var(x) + epsilon) + shift along the last axes is LayerNormalization(x)."""
    return any(_layer_norm(end) for end in ends(node) if end.spread.centre is not None)


def _layer_norm(end: Normalized) -> bool:
    plain = end.scale.array.size == 1 and end.shift.array.size == 1
    return not (plain and _is_of_channels(end)) and _over_last(end, "LayerNormalization")


def rms_norm(node: ir.Node) -> bool:
    """scale * x / sqrt(mean(x^2) + epsilon) along the last axes is RMSNormalization(x)."""
    return any(
        _over_last(end, "RMSNormalization")
        for end in ends(node)
        if end.spread.centre is None and not end.shift.array.any()
    )


def _over_last(end: Normalized, op: str) -> bool:
    x, axes = end.spread.x, end.spread.axes
    rank, given = ir.rank(x), end.scale.array.shape or end.shift.array.shape
    if x.dtype not in _ROUNDED or axes != tuple(range(axes[0], rank)):
        return False
    inputs = _vectors(end, lambda array: over_last(array, x, axes[0], given))
    if inputs is None:
        return False
    inputs = inputs if end.shift.array.any() else inputs[:2]
    return replace(end.root, op, inputs, {"axis": axes[0] - rank, "epsilon": end.spread.epsilon})


def instance_norm(node: ir.Node) -> bool:
    """scale * (x - mean(x)) / sqrt(var(x) + epsilon) + shift over all pixels is InstanceNormalization(x)."""
    return any(_instance_norm(end) for end in ends(node) if end.spread.centre is not None)


def _instance_norm(end: Normalized) -> bool:
    x = end.spread.x
    if not _is_of_channels(end) or x.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
        return False
    given = max(end.scale.array.shape, end.shift.array.shape, key=math.prod)
    inputs = _vectors(end, lambda array: over_channels(array, x, given))
    return inputs is not None and replace(end.root, "InstanceNormalization", inputs, {"epsilon": end.spread.epsilon})


def _is_over_pixels(found: Spread) -> bool:
    return ir.rank(found.x) > 2 and found.axes == tuple(range(2, ir.rank(found.x)))


def _is_of_channels(end: Normalized) -> bool:
    """Whether a normalization over all pixels is meant; along the last of three axes it may be one of tokens."""
    if not _is_over_pixels(end.spread):
        return False
    if ir.rank(end.spread.x) > 3 or end.scale.array.size > 1 or end.shift.array.size > 1:
        return True
    after = only_reader(end.root.outputs[0])
    return maker(end.spread.x, "Reshape") is not None and after is not None and after.op_type == "Reshape"


def _vectors(end: Normalized, fit: Fit) -> list[ir.Value | None] | None:
    """x, scale and shift as the op takes them."""
    scale, shift = fit(end.scale.array), fit(end.shift.array)
    if scale is None or shift is None or (end.scale.array.size == 1 and scale.size > MAX_ONES):
        return None
    return [end.spread.x, end.scale.named(end.root, "scale", scale), end.shift.named(end.root, "shift", shift)]


STEPS = (
    Step("layer normalization", each(layer_norm, "Sqrt", "Pow"), since=17),
    Step("instance normalization", each(instance_norm, "Sqrt", "Pow")),
    Step("rms normalization", each(rms_norm, "Sqrt", "Pow"), since=23),
)
