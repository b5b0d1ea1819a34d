"""How far two results are apart: the one copy of every error measure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

_LOWEST = 1e-300


def max_abs(reference: Array, result: Array) -> float:
    """max |reference - result|; NaN and infinity in the same places count as equal."""
    difference = _difference(reference, result)
    return float(np.max(np.abs(difference))) if difference.size else 0.0


def sqnr_db(reference: Array, result: Array) -> float:
    """10 log10(sum(reference^2) / sum((reference - result)^2)) in dB; infinite when they are equal.

    Signal to quantization noise ratio, over all elements at once.
    """
    noise = float(np.sum(np.square(_difference(reference, result))))
    signal = float(np.sum(np.square(_finite(reference))))
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(max(signal, _LOWEST) / noise) if math.isfinite(noise) else -math.inf


def cosine(reference: Array, result: Array) -> float:
    """Cosine of the angle between the two, flattened; 1 when both are zero."""
    a, b = _finite(reference).ravel(), _finite(result).ravel()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b / norm) if norm else float(np.array_equal(a, b))


def kl(reference: Array, result: Array) -> float:
    """Mean Kullback-Leibler divergence in nats between the softmax of both along the last axis.

    Rows that are distributions already (non-negative, summing to 1) are taken as they are.
    """
    p, q = _distribution(reference), _distribution(result)
    terms = np.where(p > 0, p * (np.log(np.maximum(p, _LOWEST)) - np.log(np.maximum(q, _LOWEST))), 0.0)
    return float(max(0.0, terms.sum(axis=-1).mean())) if terms.size else 0.0


def agreement(reference: Array, result: Array) -> float:
    """Fraction 0..1 of rows whose largest entry is in the same place."""
    same = np.argmax(reference, axis=-1) == np.argmax(result, axis=-1)
    return float(same.mean()) if same.size else 1.0


def top1(scores: Array, labels: Array) -> float:
    """Fraction 0..1 of rows whose largest entry is at the label."""
    hits = np.argmax(scores, axis=-1).ravel() == labels.ravel()
    return float(hits.mean())


def _difference(reference: Array, result: Array) -> NDArray[np.float64]:
    if reference.shape != result.shape:
        raise ValueError(f"shapes differ: {reference.shape} and {result.shape}")
    a, b = reference.astype(np.float64), result.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        return np.where(same, 0.0, a - b)


def _finite(values: Array) -> NDArray[np.float64]:
    wide = values.astype(np.float64)
    return np.where(np.isfinite(wide), wide, 0.0)


def _distribution(scores: Array) -> NDArray[np.float64]:
    wide = _finite(scores)
    if wide.ndim and (wide >= 0).all() and np.allclose(wide.sum(axis=-1), 1.0, atol=1e-3):
        return wide
    exponent = np.exp(wide - wide.max(axis=-1, keepdims=True)) if wide.size else wide
    return np.asarray(exponent / np.maximum(exponent.sum(axis=-1, keepdims=True), _LOWEST))
