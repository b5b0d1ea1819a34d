"""Which layers must not be rounded: measured on samples, where the rules alone miss the wanted precision."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from effc.calibration.collect import batch_size, fitting
from effc.calibration.readers import Dataset
from effc.calibration.statistics import Statistics
from effc.compiler import ir
from effc.compiler.hazards import WIDE
from effc.compiler.metrics import Sums
from effc.compiler.oracle import Feeds, Session
from effc.compiler.passes.precision import Narrowed, Narrowing, Observed, narrow
from effc.compiler.ranges import Range
from effc.compiler.widen import widen

_MARGIN_DB = 1.5
"""By how much the few samples must surpass what is wanted, since others have somewhat less.

Each dB more takes as many layers back to float32 as the ones before it together: noise comes from all of them.
"""
LEAST_SAMPLES = 16
_BLOCKS = 8


def narrow_observed(
    model: ir.Model,
    narrowing: Narrowing,
    ranges: Mapping[str, Range],
    keep_float: Sequence[str],
    data: tuple[Dataset, Statistics],
) -> Narrowed:
    """`narrow` with all that the calibration set can tell.

    Where an output's SQNR over a few samples would be below `narrowing.least_db`, the blocks of neighbouring layers
    whose return to float32 gains most are kept there, as many as it takes. Models with Q/DQ are left at the rules:
    steps of int8 hide what float16 loses. So is bfloat16, whose 8 bits do not reach the target anyway.
    """
    dataset, statistics = data
    means = {name: tensor.channel_mean for name, tensor in statistics.tensors.items() if tensor.channel_sum.size}
    trial = _Trial(model, narrowing, ranges, tuple(keep_float), Observed(means))
    first = trial.narrowed({})
    quantized = any(node.op_type == "QuantizeLinear" for node in model.graph)
    if narrowing.dtype != "float16" or narrowing.least_db <= 0 or quantized:
        return first
    feeds = _first_batches(dataset, batch_size(model, dataset), max(LEAST_SAMPLES, fitting(model)))
    return _search(trial, first, _Judge.of(model, feeds))


@dataclass(frozen=True)
class _Trial:
    """A model to narrow, with one set of delicate nodes or another."""

    model: ir.Model
    narrowing: Narrowing
    ranges: Mapping[str, Range]
    keep_float: tuple[str, ...]
    observed: Observed

    def narrowed(self, delicate: Mapping[str, str]) -> Narrowed:
        """The model with these nodes left in float32 as well."""
        observed = replace(self.observed, delicate=delicate)
        return narrow(self.model, self.narrowing, self.ranges, self.keep_float, observed)


@dataclass(frozen=True)
class _Judge:
    """The float model's outputs on a few samples."""

    feeds: Sequence[Feeds]
    expected: Sequence[Feeds]

    @classmethod
    def of(cls, model: ir.Model, feeds: Sequence[Feeds]) -> _Judge:
        """Runs the float model."""
        session = Session(model)
        return cls(feeds, [session.run(each) for each in feeds])

    def noise(self, result: Narrowed) -> float:
        """Noise over signal of the worst output."""
        session, sums = Session(widen(result.model)), dict[str, Sums]()
        for feeds, expected in zip(self.feeds, self.expected, strict=True):
            found = session.run(_fitting(session, feeds))
            for name, array in expected.items():
                if array.dtype.kind == "f":
                    sums[name] = sums.get(name, Sums()) + Sums.of(array, found[name])
        return max((10.0 ** (-each.sqnr_db / 10.0) for each in sums.values()), default=0.0)


def _fitting(session: Session, feeds: Feeds) -> Feeds:
    """The feeds in the types of a widened model, which takes float32 where the model takes float16."""
    return {entry.name: np.asarray(feeds[entry.name], entry.dtype) for entry in session.inputs}


def _search(trial: _Trial, first: Narrowed, judge: _Judge) -> Narrowed:
    """Return blocks to float32, the most rewarding first, until the noise is low enough; then take back what can be."""
    wanted, start = 10.0 ** (-(trial.narrowing.least_db + _MARGIN_DB) / 10.0), judge.noise(first)
    if start <= wanted:
        return first
    why = f"rounded like the rest, it leaves {-10.0 * math.log10(start):.0f} dB of the outputs"
    blocks = [dict.fromkeys(names, why) for names in _blocks(trial.model, first)]

    def without(chosen: Iterable[int]) -> Narrowed:
        return trial.narrowed({name: why for index in chosen for name in blocks[index]})

    @cache
    def noise(chosen: frozenset[int]) -> float:
        return judge.noise(without(chosen))

    order = sorted(range(len(blocks)), key=lambda index: noise(frozenset([index])))
    count = next((n for n in range(1, len(order)) if noise(frozenset(order[:n])) <= wanted), len(order))
    chosen = frozenset(order[:count])
    for index in reversed(order[: count - 1]):
        if noise(chosen - {index}) <= wanted:
            chosen -= {index}
    return without(chosen)


def _blocks(model: ir.Model, first: Narrowed) -> list[list[str]]:
    """The layers that compute narrow, in graph order, in at most _BLOCKS runs of neighbours."""
    narrow_nodes = {name for name, kind in first.precision.items() if kind != "float32"}
    names = [n.name for n in model.graph if n.op_type in WIDE and n.name in narrow_nodes]
    length = -(-len(names) // _BLOCKS) or 1
    return [[name for name in names[i : i + length] if name] for i in range(0, len(names), length)]


def _first_batches(dataset: Dataset, size: int, samples: int) -> list[Feeds]:
    """Batches of `size` until so many samples are there."""
    found: list[Feeds] = []
    for feeds in dataset.batches(size):
        found.append(feeds)
        if len(found) * size >= samples:
            break
    return found
