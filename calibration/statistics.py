"""Statistics of all float tensors of a model: merged over shards, saved, and kept under their content's hash."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from effc.calibration.arrays import readable
from effc.calibration.observers import Array, Histogram, TensorStatistics
from effc.core.errors import BadInput
from effc.core.files import write_atomic


@dataclass(frozen=True)
class Statistics:
    """Tensor name to what was observed of it, over `samples` samples."""

    tensors: Mapping[str, TensorStatistics]
    samples: int

    def merge(self, other: Statistics) -> Statistics:
        """Both shards together; a tensor that one of them lacks keeps what the other knows."""
        merged = {**other.tensors, **self.tensors}
        for name in self.tensors.keys() & other.tensors.keys():
            merged[name] = self.tensors[name].merge(other.tensors[name])
        return Statistics({name: merged[name] for name in sorted(merged)}, self.samples + other.samples)

    def save(self, path: Path) -> None:
        """Write a .npz whose bytes depend on the content alone."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **_pack(self))
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Statistics:
        """Read what `save` wrote. Raises BadInput when the file is something else."""
        try:
            with readable(path), np.load(path, allow_pickle=False) as arrays:
                return _unpack(arrays)
        except (LookupError, AttributeError, TypeError) as error:
            raise BadInput(f"these are no saved statistics ({error})", where=str(path)) from error


def _pack(statistics: Statistics) -> dict[str, Array]:
    names, all_of = list(statistics.tensors), list(statistics.tensors.values())
    numbers = [(t.histogram.exponent, t.histogram.first, len(t.histogram.counts), t.channel_count) for t in all_of]
    return {
        "samples": np.array(statistics.samples),
        "names": np.frombuffer("\0".join(names).encode(), np.uint8),
        "range": np.array([(t.lo, t.hi) for t in all_of], np.float64).reshape(-1, 2),
        "numbers": np.array([(*n, len(t.channel_sum)) for n, t in zip(numbers, all_of, strict=True)]).reshape(-1, 5),
        "counts": np.concatenate([np.zeros(0, np.int64), *(t.histogram.counts for t in all_of)]),
        "channel_sum": np.concatenate([np.zeros(0), *(t.channel_sum for t in all_of)]),
    }


def _unpack(arrays: Mapping[str, Array]) -> Statistics:
    text = arrays["names"].tobytes().decode()
    ranges, numbers, counts, sums = (arrays[key] for key in ("range", "numbers", "counts", "channel_sum"))
    tensors, at, channel = {}, 0, 0
    for name, (lo, hi), row in zip(text.split("\0") if text else [], ranges.tolist(), numbers.tolist(), strict=True):
        exponent, first, bins, number, channels = (int(v) for v in row)
        histogram = Histogram(exponent, first, counts[at : at + bins].astype(np.int64))
        tensors[name] = TensorStatistics(
            lo, hi, histogram, sums[channel : channel + channels].astype(np.float64), number
        )
        at, channel = at + bins, channel + channels
    return Statistics(tensors, int(arrays["samples"]))
