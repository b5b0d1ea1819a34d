"""Magnitudes whose products may be taken in any order: none of them overflows or vanishes."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

from effc.compiler.ir import Array

Kind = np.dtype[np.generic]


def largest(kind: Kind) -> float:
    """The root of the largest number of a float type: two such can be multiplied."""
    return math.sqrt(ml_dtypes.finfo(kind).max)  # type: ignore[no-untyped-call]


def calm(kind: Kind) -> float:
    """What may be added and taken away again at no cost that counts for numbers about 1."""
    return 1 / (32 * math.sqrt(ml_dtypes.finfo(kind).eps))  # type: ignore[no-untyped-call]


def is_tame(kind: Kind, *factors: Array) -> bool:
    """Whether the product of any entries, one of each factor, lies between 1 / largest and largest, or is 0."""
    limit, spans = np.log2(largest(kind)), [_span(array) for array in factors]
    return bool(-limit <= sum(low for low, _ in spans) and sum(high for _, high in spans) <= limit)


def is_finite(array: Array) -> bool:
    """Whether no entry is infinite or NaN; takes no memory."""
    return not array.size or bool(np.isfinite(array.min()) and np.isfinite(array.max()))


def _span(array: Array) -> tuple[float, float]:
    """log2 of the least and the greatest magnitude but 0."""
    sizes = np.abs(np.asarray(array, np.float64))
    sizes = sizes[sizes != 0]
    return (float(np.log2(sizes.min())), float(np.log2(sizes.max()))) if sizes.size else (0.0, 0.0)
