"""Observers: what one tensor's values looked like, in constant memory and independent of their order."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from effc.compiler.ranges import Range

Array = NDArray[np.generic]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

BINS = 4096
_CHUNK = 1 << 15
_LOWEST_EXPONENT = -120


@dataclass(frozen=True)
class Histogram:
    """Counts over bins [i * 2^exponent, (i + 1) * 2^exponent) for i = first, first + 1, ...

    The bins hold 0 and every value; `exponent` is the smallest that needs at most BINS of them. Neighbours merge
    exactly, floor(floor(x / 2^e) / 2) = floor(x / 2^(e+1)), so any split and order of the data gives the same result.
    """

    exponent: int
    first: int
    counts: Counts

    @classmethod
    def empty(cls, lo: float, hi: float, finest: int = _LOWEST_EXPONENT) -> Histogram:
        """No counts, over bins of width 2^finest at least that hold 0, `lo` and `hi`."""
        exponent = max(bin_exponent(lo, hi), finest)
        first, last = _bin(min(lo, 0.0), exponent), _bin(max(hi, 0.0), exponent)
        return cls(exponent, first, np.zeros(last - first + 1, np.int64))

    @property
    def width(self) -> float:
        """Width of one bin, a power of two."""
        return math.ldexp(1.0, self.exponent)

    @property
    def edges(self) -> Floats:
        """The len(counts) + 1 bin edges."""
        return (self.first + np.arange(len(self.counts) + 1, dtype=np.float64)) * self.width

    @property
    def centres(self) -> Floats:
        """Middles of the bins."""
        return (self.first + 0.5 + np.arange(len(self.counts), dtype=np.float64)) * self.width

    def within(self, lo: float, hi: float) -> Histogram:
        """The same counts over bins that also hold `lo` and `hi`; bins are merged where there would be too many."""
        # From this exponent on, the edge of a bin lies in the same bin as the value that opened it.
        wide = Histogram.empty(min(lo, self._ends[0]), max(hi, self._ends[1]), self.exponent)
        return Histogram(wide.exponent, wide.first, self._at(wide))

    def merge(self, other: Histogram) -> Histogram:
        """Counts of both data sets together."""
        coarse, fine = (self, other) if self.exponent >= other.exponent else (other, self)
        both = coarse.within(*fine._ends)
        return Histogram(both.exponent, both.first, both.counts + fine._at(both))

    @property
    def _ends(self) -> tuple[float, float]:
        """Lower edges of the first and the last bin."""
        return self.first * self.width, (self.first + len(self.counts) - 1) * self.width

    def _at(self, wide: Histogram) -> Counts:
        """The counts over the bins of `wide`, which hold all of these and are no finer."""
        counts = np.zeros_like(wide.counts)
        used = np.flatnonzero(self.counts)
        index = ((used + self.first) >> (wide.exponent - self.exponent)) - wide.first
        np.add.at(counts, index, self.counts[used])
        return counts


def bin_exponent(lo: float, hi: float) -> int:
    """Smallest e for which bins of width 2^e, aligned at 0, hold 0, `lo` and `hi` in at most BINS bins."""
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    span = max(hi - lo, math.ldexp(1.0, _LOWEST_EXPONENT))
    exponent = max(math.frexp(span / BINS)[1] - 2, _LOWEST_EXPONENT)
    while _bin(hi, exponent) - _bin(lo, exponent) >= BINS:
        exponent += 1
    return exponent


def _bin(value: float, exponent: int) -> int:
    return math.floor(math.ldexp(value, -exponent))


@dataclass(frozen=True)
class TensorStatistics:
    """What is known of one tensor.

    Attributes:
        lo, hi: the least and the greatest value.
        channel_sum: sums over all axes but axis 1, shape [channels]; empty for tensors of rank 0 and 1.
        channel_count: values that went into each channel's sum.
    """

    lo: float
    hi: float
    histogram: Histogram
    channel_sum: Floats
    channel_count: int

    @property
    def count(self) -> int:
        """Number of values."""
        return int(self.histogram.counts.sum())

    @property
    def range(self) -> Range:
        """[lo, hi]."""
        return Range(self.lo, self.hi)

    @property
    def channel_mean(self) -> Floats:
        """Mean of each channel, shape [channels]."""
        return self.channel_sum / max(self.channel_count, 1)

    def merge(self, other: TensorStatistics) -> TensorStatistics:
        """Statistics of both data sets together; histograms and ranges exactly, sums up to rounding."""
        same = self.channel_sum.shape == other.channel_sum.shape
        sums = self.channel_sum + other.channel_sum if same else np.zeros(0)
        lo, hi = min(self.lo, other.lo), max(self.hi, other.hi)
        number = self.channel_count + other.channel_count
        return TensorStatistics(lo, hi, self.histogram.merge(other.histogram), sums, number)


@dataclass
class Observer:
    """Accumulates one tensor's statistics batch by batch."""

    lo: float = math.inf
    hi: float = -math.inf
    histogram: Histogram = field(default_factory=lambda: Histogram.empty(0.0, 0.0))
    channel_sum: Floats = field(default_factory=lambda: np.zeros(0))
    channel_count: int = 0

    def update(self, batch: Array) -> bool:
        """Take a float batch in; False, and nothing taken, when it holds NaN or infinity."""
        values = np.ascontiguousarray(batch, np.float32)
        if not values.size:
            return True
        lo, hi = float(values.min()), float(values.max())
        if not (math.isfinite(lo) and math.isfinite(hi)):
            return False
        self._grow(min(lo, self.lo), max(hi, self.hi))
        _count(values.ravel(), self.histogram)
        self._add_channels(values)
        return True

    def result(self) -> TensorStatistics:
        """The statistics so far. Raises ValueError before the first value."""
        if self.lo > self.hi:
            raise ValueError("no value was observed")
        return TensorStatistics(self.lo, self.hi, self.histogram, self.channel_sum, self.channel_count)

    def _grow(self, lo: float, hi: float) -> None:
        if (lo, hi) != (self.lo, self.hi):
            self.lo, self.hi = lo, hi
            self.histogram = self.histogram.within(lo, hi)

    def _add_channels(self, values: NDArray[np.float32]) -> None:
        if values.ndim < 2:
            return
        rows = values.reshape(values.shape[0], values.shape[1], -1).sum(axis=2, dtype=np.float32)
        sums = rows.sum(axis=0, dtype=np.float64)
        if self.channel_count and sums.shape != self.channel_sum.shape:
            return
        self.channel_sum = sums + self.channel_sum if self.channel_count else sums
        self.channel_count += values.size // values.shape[1]


def _count(values: NDArray[np.float32], histogram: Histogram) -> None:
    """Add `values` to the counts, a piece that fits the cache at a time."""
    bins = len(histogram.counts)
    scale = math.ldexp(1.0, -histogram.exponent)
    # Scaling a float32 down could underflow and lose the sign that floor needs.
    kind = np.float32 if histogram.exponent <= 0 else np.float64
    scratch = np.empty(min(_CHUNK, values.size), kind)
    index = np.empty(len(scratch), np.intp)
    for start in range(0, values.size, _CHUNK):
        piece = values[start : start + _CHUNK]
        scaled = np.multiply(piece, kind(scale), out=scratch[: len(piece)])
        np.subtract(np.floor(scaled, out=scaled), kind(histogram.first), out=index[: len(piece)], casting="unsafe")
        histogram.counts[:] += np.bincount(index[: len(piece)], minlength=bins)
