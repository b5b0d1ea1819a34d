"""How far two results are apart: the one copy of every error measure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

_LOWEST = 1e-300


@dataclass(frozen=True)
class Sums:
    """Sums over elements and rows; those of two parts add up to those of the whole, so a stream needs no more.

    Attributes:
        signal, power: sum of squares of the reference and of the result.
        dot: sum of reference * result.
        noise: sum of (reference - result)^2.
        largest: max |reference - result|.
        divergence: sum over rows of the Kullback-Leibler divergence, `rows` of them.
    """

    signal: float = 0.0
    power: float = 0.0
    dot: float = 0.0
    noise: float = 0.0
    largest: float = 0.0
    divergence: float = 0.0
    rows: int = 0

    @classmethod
    def of(cls, reference: Array, result: Array) -> Sums:
        """The sums of two arrays of one shape. Raises ValueError when shapes differ."""
        difference = _difference(reference, result).ravel()
        a, b = _finite(reference).ravel(), _finite(result).ravel()
        rows = _divergences(reference, result)
        largest = float(np.max(np.abs(difference))) if difference.size else 0.0
        squares = (float(a @ a), float(b @ b), float(a @ b), float(difference @ difference))
        return cls(*squares, largest, float(rows.sum()), rows.size)

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.signal + other.signal,
            self.power + other.power,
            self.dot + other.dot,
            self.noise + other.noise,
            float(np.maximum(self.largest, other.largest)),
            self.divergence + other.divergence,
            self.rows + other.rows,
        )

    @property
    def sqnr_db(self) -> float:
        """10 log10(signal / noise); infinite when nothing differs, minus infinity when the noise is not finite."""
        if self.noise == 0.0:
            return math.inf
        finite = math.isfinite(self.noise)
        return 10.0 * math.log10(max(self.signal, _LOWEST) / self.noise) if finite else -math.inf

    @property
    def cosine(self) -> float:
        """dot / sqrt(signal * power); 1 when both are zero, 0 when one is."""
        norm = math.sqrt(self.signal) * math.sqrt(self.power)
        return self.dot / norm if norm else float(self.signal == self.power)

    @property
    def kl(self) -> float:
        """Mean divergence of a row in nats."""
        return max(0.0, self.divergence / self.rows) if self.rows else 0.0


def energies(reference: Array, result: Array) -> tuple[float, float]:
    """Sum of reference^2 and of (reference - result)^2: what `Sums` holds of them, at a fraction of its time."""
    difference, a = _difference(reference, result).ravel(), _finite(reference).ravel()
    return float(a @ a), float(difference @ difference)


def max_abs(reference: Array, result: Array) -> float:
    """max |reference - result|; NaN and infinity in the same places count as equal."""
    return Sums.of(reference, result).largest


def sqnr_db(reference: Array, result: Array) -> float:
    """10 log10(sum(reference^2) / sum((reference - result)^2)) in dB; infinite when they are equal.

    Signal to quantization noise ratio, over all elements at once.
    """
    return Sums.of(reference, result).sqnr_db


def cosine(reference: Array, result: Array) -> float:
    """Cosine of the angle between the two, flattened; 1 when both are zero."""
    return Sums.of(reference, result).cosine


def kl(reference: Array, result: Array) -> float:
    """Mean Kullback-Leibler divergence in nats between the softmax of both along the last axis.

    Where the reference's row is a distribution already (non-negative, summing to 1) both rows are taken as
    distributions: the result's is clipped at 0 and scaled to sum 1.
    """
    return Sums.of(reference, result).kl


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


def _divergences(reference: Array, result: Array) -> NDArray[np.float64]:
    """KL divergence of each row, rows along the last axis; a scalar is a row of its own."""
    p, q = np.atleast_1d(_finite(reference)), np.atleast_1d(_finite(result))
    if not p.size:
        return np.zeros(0)
    given = (p >= 0).all(axis=-1, keepdims=True) & np.isclose(p.sum(axis=-1, keepdims=True), 1.0, atol=1e-3)
    p, q = np.where(given, p, _softmax(p)), np.where(given, _normalized(q), _softmax(q))
    terms = np.where(p > 0, p * (np.log(np.maximum(p, _LOWEST)) - np.log(np.maximum(q, _LOWEST))), 0.0)
    return np.asarray(terms.sum(axis=-1)).ravel()


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    exponent = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(exponent / exponent.sum(axis=-1, keepdims=True))


def _normalized(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    positive = np.maximum(scores, 0.0)
    return np.asarray(positive / np.maximum(positive.sum(axis=-1, keepdims=True), _LOWEST))
