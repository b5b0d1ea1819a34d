"""How much of a float model's outputs another precision loses over a calibration set, rare samples included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from effc.calibration.readers import Dataset
from effc.compiler import ir
from effc.compiler.metrics import energies
from effc.compiler.oracle import Feeds, Session
from effc.compiler.widen import widen
from effc.core.progress import Progress

MOST_SAMPLES = 128
_HARDEST = 5
_HELD_BYTES = 1 << 27
_MARGIN = 10.0**0.1
"""Other samples have somewhat more noise than those that the layers were chosen by."""
_LARGEST = 1e30

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Loss:
    """The noise of samples, and what is needed to tell that of all from it.

    Attributes:
        noise: [samples, outputs].
        signal: that of all samples, [outputs].
        scale: by how much the noise of all samples exceeds that of these, [outputs].
        count: how many samples there are in all.
    """

    noise: Floats
    signal: Floats
    scale: Floats
    count: int

    @property
    def shares(self) -> Floats:
        """A sample's noise over the signal of all, [samples, outputs]; finite whatever the noise is."""
        return np.nan_to_num(self.noise / self.signal, nan=_LARGEST, posinf=_LARGEST)

    @property
    def bound(self) -> float:
        """Noise over signal of the worst output that other samples hardly exceed.

        Where near-ties flip, as ahead of a softmax, a few samples make nearly all of the noise, and the average tells
        nothing of others: then all count as the noisiest does. Noise is taken to be of that kind when its maximum is
        above that of as many values of an exponential distribution, which is (1 + ln count) times their average.
        """
        shares = self.shares
        total, most = self.scale * shares.sum(axis=0), self.count * shares.max(axis=0)
        even = most <= (1.0 + np.log(self.count)) * total
        return float(np.where(even, np.minimum(_MARGIN * total, most), most).max(initial=0.0))

    @property
    def hardest(self) -> list[int]:
        """The samples with most noise, most of all first."""
        most = self.shares.max(axis=1, initial=0.0)
        return [int(index) for index in np.argsort(-most, kind="stable")[:_HARDEST]]


@dataclass(frozen=True)
class Hardest:
    """The samples that a first trial was worst at: they tell most of what all would of the next.

    Attributes:
        expected: the float model's outputs.
        signal, scale, count: as in `Loss`.
    """

    feeds: Sequence[Feeds]
    expected: Sequence[Feeds]
    signal: Floats
    scale: Floats
    count: int

    def loss(self, model: ir.Model) -> Loss:
        """About what it would be over all samples."""
        session = Session(widen(model))
        rows = [_energies(session, *each) for each in zip(self.feeds, self.expected, strict=True)]
        return Loss(np.array(rows)[:, 1], self.signal, self.scale, self.count)


class Judge:
    """A float model and the samples by which others are compared with it."""

    def __init__(self, model: ir.Model, dataset: Dataset, progress: Progress) -> None:
        self._session, self._dataset, self._progress = Session(model), dataset, progress
        self._held: dict[int, Feeds] = {}

    def loss(self, model: ir.Model) -> Loss:
        """The loss over at most MOST_SAMPLES samples, one at a time, roundings included."""
        session, rows = Session(widen(model)), []
        with self._progress.stage("compare precisions"):
            for done, (feeds, expected) in enumerate(self._samples()):
                self._progress.advance(done, min(len(self._dataset), MOST_SAMPLES))
                rows.append(_energies(session, feeds, expected))
        signal, noise = np.array(rows).swapaxes(0, 1)
        return Loss(noise, np.maximum(signal.sum(axis=0), 1.0 / _LARGEST), np.ones(signal.shape[1]), len(rows))

    def hardest(self, loss: Loss) -> Hardest:
        """The samples that most of the loss is made of."""
        chosen = loss.hardest
        feeds, expected = zip(*(each for index, each in enumerate(self._samples()) if index in chosen), strict=True)
        scale = loss.shares.sum(axis=0) / np.maximum(loss.shares[chosen].sum(axis=0), 1.0 / _LARGEST)
        return Hardest(feeds, expected, loss.signal, scale, loss.count)

    def _samples(self) -> Iterator[tuple[Feeds, Feeds]]:
        """Each sample with the float model's outputs, which are held as far as _HELD_BYTES go."""
        room = _HELD_BYTES - sum(array.nbytes for outputs in self._held.values() for array in outputs.values())
        for index, feeds in enumerate(islice(self._dataset.batches(1), MOST_SAMPLES)):
            expected = self._held.get(index) or self._session.run(feeds)
            if index not in self._held and room > 0:
                self._held[index] = expected
                room -= sum(array.nbytes for array in expected.values())
            yield feeds, expected


def _energies(session: Session, feeds: Feeds, expected: Feeds) -> tuple[list[float], list[float]]:
    """Signal and noise of each float output. A widened model takes float32 where the model takes float16."""
    found = session.run({entry.name: np.asarray(feeds[entry.name], entry.dtype) for entry in session.inputs})
    pairs = [energies(array, found[name]) for name, array in expected.items() if array.dtype.kind == "f"]
    return [signal for signal, _ in pairs], [noise for _, noise in pairs]
