"""The range of a tensor's values, as passes and schemes see it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Closed interval [lo, hi] of finite real values."""

    lo: float
    hi: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lo) and math.isfinite(self.hi) and self.lo <= self.hi):
            raise ValueError(f"not a range: [{self.lo}, {self.hi}]")

    def union(self, other: Range) -> Range:
        """The smallest range that holds both."""
        return Range(min(self.lo, other.lo), max(self.hi, other.hi))

    def clipped(self, lo: float, hi: float) -> Range:
        """This range cut to [lo, hi]; a range wholly outside collapses onto the nearer bound."""
        return Range(min(max(self.lo, lo), hi), max(min(self.hi, hi), lo))
