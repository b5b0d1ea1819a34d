"""Ranges: the table of algorithms, and what it says of each tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from effc.calibration.algorithms.entropy import entropy
from effc.calibration.algorithms.minmax import minmax
from effc.calibration.algorithms.mse import mse
from effc.calibration.algorithms.percentile import percentile
from effc.calibration.collect import stated_ranges
from effc.calibration.observers import TensorStatistics
from effc.calibration.statistics import Statistics
from effc.compiler import ir
from effc.compiler.ranges import Range
from effc.core.errors import BadInput

Algorithm = Callable[[TensorStatistics, float], Range]

ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "minmax": lambda observed, _: minmax(observed),
        "percentile": percentile,
        "entropy": lambda observed, _: entropy(observed),
        "mse": lambda observed, _: mse(observed),
    }
)


def ranges(statistics: Statistics, method: str, kept: float = 99.99) -> dict[str, Range]:
    """Tensor name to range by `method`; `kept` is the percentile's. Raises BadInput for an unknown method."""
    if method not in ALGORITHMS:
        raise BadInput(f"{method!r} is no calibration method", where="--method", hint=", ".join(ALGORITHMS))
    if not 50.0 < kept <= 100.0:
        raise BadInput(f"{kept} is no percentile in (50, 100]", where="--percentile")
    return {name: ALGORITHMS[method](observed, kept) for name, observed in statistics.tensors.items()}


def model_ranges(model: ir.Model, statistics: Statistics, method: str, kept: float = 99.99) -> dict[str, Range]:
    """`ranges`, and those that legalization stated for tensors of `model`."""
    return ranges(statistics, method, kept) | stated_ranges(model)
