"""mse: the range with the least expected squared error of quantizing to 8 bits.

E(lo, hi) = sum over x < lo of (lo - x)^2 + sum over x > hi of (x - hi)^2 + n s^2 / 12, with s = (hi - lo) / 255:
clipping noise plus the variance of rounding, which is uniform within a step (Bennett, 1948, "Spectra of quantized
signals"; the trade-off of both as in Banner et al., 2019, "Post training 4-bit quantization").
On a grid that is symmetric around 0, -lo = hi = t and s = t / 127; what lies within half a step of 0 becomes
0 there and adds x^2.
"""

from __future__ import annotations

import numpy as np

from effc.calibration.observers import Floats, Histogram, TensorStatistics
from effc.compiler.ranges import Range

_STEPS = 255
_STEPS_TO_A_SIDE = 127
_CANDIDATES = 160


def mse(observed: TensorStatistics, *, symmetric: bool = False) -> Range:
    """The best pair out of evenly spaced bounds on either side of 0, or the best bound on both."""
    return _two_sided(observed) if symmetric else _pair(observed)


def _two_sided(observed: TensorStatistics) -> Range:
    histogram = observed.histogram
    bounds = np.linspace(0.0, max(observed.hi, -observed.lo, 0.0), _CANDIDATES + 1)[1:]
    if not bounds.any():
        return observed.range
    counts = histogram.counts.astype(np.float64)
    error = _clipping(counts[::-1], -histogram.centres[::-1], bounds) + _clipping(counts, histogram.centres, bounds)
    error += _rounding(counts, np.abs(histogram.centres), bounds / _STEPS_TO_A_SIDE)
    best = float(bounds[::-1][int(np.argmin(error[::-1]))])
    return Range(-best, best).clipped(min(observed.lo, 0.0), max(observed.hi, 0.0))


def _rounding(counts: Floats, magnitudes: Floats, steps: Floats) -> Floats:
    """For each step s: sum of x^2 over |x| < s / 2, which become 0, and s^2 / 12 for each of the others."""
    order = np.argsort(magnitudes, kind="stable")
    inside = np.searchsorted(magnitudes[order], steps / 2)
    number, square = (np.append(0.0, np.cumsum((counts * magnitudes**k)[order])) for k in (0, 2))
    return np.asarray(square[inside] + (number[-1] - number[inside]) * steps**2 / 12)


def _pair(observed: TensorStatistics) -> Range:
    histogram = observed.histogram
    highs = np.linspace(0.0, max(observed.hi, 0.0), _CANDIDATES + 1)
    lows = np.linspace(0.0, min(observed.lo, 0.0), _CANDIDATES + 1)
    if not (highs.any() or lows.any()):
        return observed.range
    counts = histogram.counts.astype(np.float64)
    mirrored = _clipping(counts[::-1], -histogram.centres[::-1], -lows)
    error = mirrored[:, None] + _clipping(counts, histogram.centres, highs)[None, :]
    error += _rounded(histogram) * ((highs[None, :] - lows[:, None]) / _STEPS) ** 2 / 12
    low, high = np.unravel_index(int(np.argmin(error[::-1, ::-1])), error.shape)
    found = float(lows[::-1][low]), float(highs[::-1][high])
    return Range(*found).clipped(min(observed.lo, 0.0), max(observed.hi, 0.0))


def _clipping(counts: Floats, centres: Floats, bounds: Floats) -> Floats:
    """For each bound t: sum of count * (x - t)^2 over x > t = S2 - 2 t S1 + t^2 S0 of the bins above t."""
    moments = [np.append(np.cumsum((counts * centres**k)[::-1])[::-1], 0.0) for k in range(3)]
    s0, s1, s2 = (m[np.searchsorted(centres, bounds, side="right")] for m in moments)
    return np.asarray(np.maximum(s2 - 2 * bounds * s1 + bounds**2 * s0, 0.0))


def _rounded(histogram: Histogram) -> float:
    """Values that rounding moves: all but those next to 0, which 8 bits hold exactly."""
    return float(histogram.counts.sum() - histogram.counts[-histogram.first])
