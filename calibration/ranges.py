"""Ranges: the table of algorithms, and what it says of each tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from effc.calibration.algorithms.entropy import entropy
from effc.calibration.algorithms.minmax import minmax
from effc.calibration.algorithms.mse import mse
from effc.calibration.algorithms.percentile import percentile
from effc.calibration.observers import TensorStatistics
from effc.calibration.scheme import Spacing
from effc.calibration.statistics import Statistics
from effc.compiler.ranges import Range
from effc.core.errors import BadInput


@dataclass(frozen=True)
class Grid:
    """What an algorithm needs to know of the values that there will be."""

    spacing: Spacing = "affine"
    kept: float = 99.99

    @property
    def symmetric(self) -> bool:
        """Whether both ends of the range are equally far from 0."""
        return self.spacing == "symmetric"


Algorithm = Callable[[TensorStatistics, Grid], Range]

ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "minmax": lambda observed, _: minmax(observed),
        "percentile": lambda observed, grid: percentile(observed, grid.kept),
        "entropy": lambda observed, grid: entropy(observed, symmetric=grid.symmetric),
        "mse": lambda observed, grid: mse(observed, symmetric=grid.symmetric),
    }
)
_FOR_EVEN_STEPS = frozenset({"entropy", "mse"})
"""They weigh clipping against the size of a step. Floats lose the same share of any value: clipping gains nothing."""


def ranges(statistics: Statistics, method: str, kept: float = 99.99, spacing: Spacing = "affine") -> dict[str, Range]:
    """Tensor name to range by `method`. Raises BadInput for an unknown method.

    Args:
        kept: the percentile's percentage.
        spacing: the scheme's.
    """
    if method not in ALGORITHMS:
        raise BadInput(f"{method!r} is no calibration method", where="--method", hint=", ".join(ALGORITHMS))
    if not 50.0 < kept <= 100.0:
        raise BadInput(f"{kept} is no percentile in (50, 100]", where="--percentile")
    algorithm = ALGORITHMS["minmax" if spacing == "float" and method in _FOR_EVEN_STEPS else method]
    return {name: algorithm(observed, Grid(spacing, kept)) for name, observed in statistics.tensors.items()}
