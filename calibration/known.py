"""What a calibration set tells of a model's tensors, and what rewrites state of them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from effc.calibration.collect import complete, kept_float, stated_ranges
from effc.calibration.ranges import ranges
from effc.calibration.readers import Dataset
from effc.calibration.scheme import Spacing
from effc.calibration.statistics import Statistics
from effc.compiler import ir
from effc.compiler.ranges import Range


@dataclass(frozen=True)
class Known:
    """A calibration set with the statistics of all tensors of one legalized model.

    Attributes:
        stated: ranges that rewrites fixed; they hold whatever the samples say.
        floats: tensors that are not to be quantized.
    """

    dataset: Dataset
    statistics: Statistics
    stated: Mapping[str, Range]
    floats: Set[str] = frozenset()

    @classmethod
    def of(cls, model: ir.Model, dataset: Dataset, statistics: Statistics) -> Known:
        """Measures what the statistics of the model before its legalization lack."""
        return cls(dataset, complete(statistics, model, dataset), stated_ranges(model), kept_float(model))

    @property
    def extremes(self) -> dict[str, Range]:
        """Least and greatest values by tensor name."""
        return {name: tensor.range for name, tensor in self.statistics.tensors.items()} | dict(self.stated)

    def ranges(self, method: str, kept: float, spacing: Spacing) -> dict[str, Range]:
        """`ranges.ranges` and what is stated, of the tensors that may be quantized."""
        found = ranges(self.statistics, method, kept, spacing) | dict(self.stated)
        return {name: observed for name, observed in found.items() if name not in self.floats}
