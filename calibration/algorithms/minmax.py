"""minmax: the range is [min, max] of all values."""

from __future__ import annotations

from effc.calibration.observers import TensorStatistics
from effc.compiler.ranges import Range


def minmax(observed: TensorStatistics) -> Range:
    """Everything that was seen fits."""
    return observed.range
