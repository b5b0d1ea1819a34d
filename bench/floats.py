"""The float model's outputs over a data set: computed for the first target, read back for the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from effc.compiler.oracle import AnyModel, Session

Feeds = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class FloatOutputs:
    """The original model in ONNX Runtime without optimizations, and a folder that holds what it gave."""

    model: AnyModel
    folder: Path
    threads: int

    @cached_property
    def _session(self) -> Session:
        return Session(self.model, threads=self.threads)

    def run(self, feeds: Feeds) -> Feeds:
        """The outputs for one batch."""
        return self._session.run(feeds)

    def pairs(self, batches: Iterable[Feeds]) -> Iterator[tuple[Feeds, Feeds]]:
        """Each batch with its outputs, which lie on disk from the second pass over the same batches on."""
        for number, feeds in enumerate(batches):
            path = self.folder / f"{number}.npz"
            if not path.exists():
                outputs = self.run(feeds)
                np.savez(path, allow_pickle=False, **{f"output:{k}": v for k, v in outputs.items()})
                yield feeds, outputs
                continue
            with np.load(path, allow_pickle=False) as held:
                yield feeds, {name.removeprefix("output:"): held[name] for name in held.files}
