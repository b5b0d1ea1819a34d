"""Which layers must not be rounded: measured on samples, where the rules alone miss the wanted precision."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from effc.calibration.known import Known
from effc.calibration.loss import Hardest, Judge, Loss
from effc.compiler import ir
from effc.compiler.hazards import WIDE
from effc.compiler.passes.precision import Narrowed, Narrowing, Observed, narrow
from effc.compiler.ranges import Range
from effc.core.progress import Progress

_BLOCKS = 8
_SPLITS = 4
_TRIALS = _BLOCKS + 2 * _SPLITS + 6
"""About as many as a search makes: halving 50 layers takes 6."""


def narrow_observed(
    model: ir.Model,
    narrowing: Narrowing,
    known: Known,
    keep_float: Sequence[str] = (),
    progress: Progress | None = None,
) -> Narrowed:
    """`narrow` with all that the calibration set can tell.

    Where an output's SQNR over the set would be below `narrowing.least_db`, the layers that make most of the noise
    stay in float32, as many as it takes. Models with Q/DQ are left at the rules: steps of int8 hide what float16
    loses. So is bfloat16, whose 8 bits do not reach the target anyway.
    """
    tensors = known.statistics.tensors
    means = {name: tensor.channel_mean for name, tensor in tensors.items() if tensor.channel_sum.size}
    trial = _Trial(model, narrowing, known.extremes, tuple(keep_float), Observed(means))
    first = trial.narrowed({})
    quantized = any(node.op_type == "QuantizeLinear" for node in model.graph)
    if narrowing.dtype != "float16" or narrowing.least_db <= 0 or quantized:
        return first
    progress = progress or Progress()
    judge = Judge(model, known.dataset, progress)
    loss = judge.loss(first.model)
    wanted = 10.0 ** (-narrowing.least_db / 10.0)
    if loss.bound <= wanted:
        return first
    with progress.stage("find delicate layers"):
        return _Search(trial, judge, wanted, progress).best(first, loss)


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
class _Part:
    """Neighbouring layers, and the noise that the model has where they alone are narrow."""

    layers: tuple[str, ...]
    noise: float

    @property
    def density(self) -> float:
        """What a layer gains on average."""
        return self.noise / len(self.layers)


@dataclass(frozen=True)
class _Search:
    """Looks for few layers whose return to float32 leaves no more than the `wanted` noise over signal."""

    trial: _Trial
    judge: Judge
    wanted: float
    progress: Progress
    tried: Iterator[int] = field(default_factory=itertools.count)

    def best(self, first: Narrowed, loss: Loss) -> Narrowed:
        """The noisiest layers return, judged by the samples that are hardest now, until all samples are content."""
        why = f"rounded like the rest, it leaves {-10.0 * math.log10(loss.bound):.0f} dB of the outputs"
        layers = dict.fromkeys(_layers(self.trial.model, first), why)
        order, count = self._ranked(layers, self.judge.hardest(loss), self.wanted / loss.bound), 0
        while loss.bound > self.wanted and count < len(order):
            count = self._fewest(order, count + 1, self.judge.hardest(loss), why)
            first = self.trial.narrowed(dict.fromkeys(order[:count], why))
            loss = self.judge.loss(first.model)
        return first

    def _ranked(self, layers: Mapping[str, str], hardest: Hardest, share: float) -> list[str]:
        """The noisiest layers first: neighbours are judged together, in halves where they seem to return."""

        def part(own: Sequence[str]) -> _Part:
            others = {name: why for name, why in layers.items() if name not in own}
            return _Part(tuple(own), float(self._loss(others, hardest).shares.sum(axis=0).max()))

        parts = [part(own) for own in _runs(list(layers), _BLOCKS)]
        for _ in range(_SPLITS):
            parts.sort(key=lambda each: -each.density)
            coarse = [each for each in _returning(parts, share) if len(each.layers) > 1]
            if not coarse:
                break
            noisiest = max(coarse, key=lambda each: each.noise)
            parts.remove(noisiest)
            parts += [part(own) for own in _runs(noisiest.layers, 2)]
        return [name for each in sorted(parts, key=lambda each: -each.density) for name in each.layers]

    def _fewest(self, order: Sequence[str], least: int, hardest: Hardest, why: str) -> int:
        """How many layers have to return, at least `least`, for the samples' sake."""

        def enough(count: int) -> bool:
            return self._loss(dict.fromkeys(order[:count], why), hardest).bound <= self.wanted

        return least + bisect_left(range(least, len(order)), True, key=enough)

    def _loss(self, delicate: Mapping[str, str], hardest: Hardest) -> Loss:
        self.progress.advance(min(next(self.tried), _TRIALS), _TRIALS)
        return hardest.loss(self.trial.narrowed(delicate).model)


def _returning(parts: Iterable[_Part], share: float) -> Iterator[_Part]:
    """The first parts, until what the others add to the noise is its `share` of the whole."""
    parts = list(parts)
    left, enough = sum(part.noise for part in parts), share * sum(part.noise for part in parts)
    for part in parts:
        if left <= enough:
            return
        left -= part.noise
        yield part


def _layers(model: ir.Model, first: Narrowed) -> list[str]:
    """The layers that compute narrow, in graph order."""
    narrow_nodes = {name for name, kind in first.precision.items() if kind != "float32"}
    return [n.name for n in model.graph if n.op_type in WIDE and n.name and n.name in narrow_nodes]


def _runs(layers: Sequence[str], count: int) -> list[Sequence[str]]:
    """At most `count` runs of neighbours, of one length but for the last."""
    length = -(-len(layers) // count) or 1
    return [layers[i : i + length] for i in range(0, len(layers), length)]
