"""percentile: the range leaves out an equal share of the values on either side."""

from __future__ import annotations

import numpy as np

from effc.calibration.observers import TensorStatistics
from effc.compiler.ranges import Range


def percentile(observed: TensorStatistics, kept: float) -> Range:
    """The bins that hold the middle `kept` percent of the values, cut to [min, max]."""
    counts, edges = observed.histogram.counts, observed.histogram.edges
    tail = counts.sum() * (100.0 - kept) / 200.0
    below = int(np.searchsorted(np.cumsum(counts), tail, side="right"))
    above = int(np.searchsorted(np.cumsum(counts[::-1]), tail, side="right"))
    last = len(counts) - 1
    return Range(float(edges[min(below, last)]), float(edges[max(last - above, below, 0) + 1])).clipped(
        observed.lo, observed.hi
    )
