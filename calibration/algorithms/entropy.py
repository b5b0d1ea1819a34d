"""entropy: the range whose 8-bit histogram diverges least from the observed one.

KL(P || Q): P is the histogram clipped to the range, what lies outside added to its end bins; Q is the clipped part
in 256 levels (a grid symmetric around 0 has 256 from -t to t, whether values are there or not), each spread evenly
over its non-empty bins (Migacz, 2017, "8-bit inference with TensorRT").
The bins next to 0 are left out: 8 bits hold 0 exactly, and after a ReLU they would outweigh all others.
"""

from __future__ import annotations

import numpy as np

from effc.calibration.observers import Floats, TensorStatistics
from effc.compiler.ranges import Range

_LEVELS = 256
_CANDIDATES = 48
_NARROWEST = 0.1


def entropy(observed: TensorStatistics, *, symmetric: bool = False) -> Range:
    """The best of the ranges [min, max] cut to [-t, t], for t from max |x| down to a tenth of it."""
    counts = observed.histogram.counts.astype(np.float64)
    zero = -observed.histogram.first
    counts[zero] = 0.0
    if np.count_nonzero(counts) < _LEVELS // 2:
        return observed.range
    longest = max(zero, len(counts) - zero)
    limits = np.linspace(longest, longest * _NARROWEST, _CANDIDATES).astype(int)
    spans = [(max(zero - t, 0), min(zero + t, len(counts))) for t in limits]
    levels = [
        round(_LEVELS * (b - a) / (2 * t)) if symmetric else _LEVELS for (a, b), t in zip(spans, limits, strict=True)
    ]
    divergence = [_divergence(counts, span, number) for span, number in zip(spans, levels, strict=True)]
    best = float(limits[int(np.argmin(divergence))] * observed.histogram.width)
    return Range(-best, best).clipped(min(observed.lo, 0.0), max(observed.hi, 0.0)) if best else observed.range


def _divergence(counts: Floats, span: tuple[int, int], levels: int) -> float:
    """KL(P || Q) in nats for the bins [first, end)."""
    first, end = span
    inside = counts[first:end]
    if not inside.any():
        return np.inf
    p = inside.copy()
    p[0] += counts[:first].sum()
    p[-1] += counts[end:].sum()
    q = _coarse(inside, levels)
    missing = (p > 0) & (q == 0)
    q[missing] = inside[inside > 0].min() * 1e-3
    p, q = p / p.sum(), q / q.sum()
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / q[used])))


def _coarse(inside: Floats, levels: int) -> Floats:
    """The histogram in at most so many levels, each level's mass spread over its non-empty bins."""
    bounds = np.unique(np.linspace(0, len(inside), min(levels, len(inside)) + 1).astype(int))[:-1]
    mass, filled = np.add.reduceat(inside, bounds), np.add.reduceat((inside > 0).astype(float), bounds)
    lengths = np.diff(np.append(bounds, len(inside)))
    return np.where(inside > 0, np.repeat(mass / np.maximum(filled, 1), lengths), 0.0)
