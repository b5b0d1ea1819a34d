"""An artifact against the float model, batch by batch: errors of each output, agreement, top-1."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from effc.bench import reference
from effc.bench.adapt import Adapter
from effc.bench.remote import RemoteRunner, can_run, open_runner, open_typed
from effc.compiler.metrics import Sums
from effc.core import function
from effc.core.artifact import Artifact
from effc.core.errors import BackendFailed, BadInput
from effc.core.manifest import OutputError, Top1, Verification

Array = NDArray[np.generic]
Feeds = Mapping[str, Array]
Metric = Callable[[Mapping[str, Array], Array], float]
METRIC = "--metric"


@dataclass(frozen=True)
class Labels:
    """What is known of each sample: without a metric, its true class.

    Attributes:
        values: first axis samples.
        metric: `module:function` that replaces top-1; it takes (outputs by name, labels) and returns a fraction.
        source: what errors name.
    """

    values: Array
    metric: str = ""
    source: str = ""

    @classmethod
    def of(cls, values: Array | None, metric: str, source: str) -> Labels | None:
        """None where there are no labels. Raises BadInput when a metric lacks them, or is not there."""
        if metric:
            function.load(metric, METRIC)
        if metric and values is None:
            raise BadInput("a metric needs labels", where=source, hint="add an array `label`, one entry a sample")
        return None if values is None else cls(values, metric, source)

    def check(self, classes: int) -> None:
        """Raise BadInput unless they are one class from 0 to `classes` - 1 for each sample."""
        rows = self.values.reshape(len(self.values), -1)
        numbers = rows.shape[1] == 1 and self.values.dtype.kind in "biuf"
        if not (numbers and np.isin(rows, np.arange(classes)).all()):
            hint = "the array `label` holds class indices; --metric module:function takes labels of any kind"
            what = f"its labels are not one class from 0 to {classes - 1} for each sample"
            raise BadInput(f"{what}: {_summary(self.values)}", where=self.source, hint=hint)


@dataclass
class Comparison:
    """What a stream of (float outputs, artifact outputs) adds up to, in memory that does not grow.

    A metric of the user's is the exception: it sees all outputs at once, so they are kept.
    """

    labels: Labels | None = None
    sums: dict[str, Sums] = field(default_factory=dict)
    samples: int = 0
    same: int = 0
    hits: tuple[int, int] = (0, 0)
    classes: str = ""
    kept: tuple[list[Feeds], list[Feeds]] = field(default_factory=lambda: ([], []))

    def add(self, reference: Feeds, result: Feeds) -> None:
        """Take in one batch, outputs by ONNX name, first axis samples."""
        for name, expected in reference.items():
            self.sums[name] = self.sums.get(name, Sums()) + _compare(name, _rows(expected), _rows(result[name]))
        if not self.classes:
            self._find_classes(reference)
        if self.classes:
            self._classify(np.argmax(reference[self.classes], axis=1), np.argmax(result[self.classes], axis=1))
        if self.labels and self.labels.metric:
            self.kept[0].append(reference)
            self.kept[1].append(result)
        self.samples += len(_rows(next(iter(reference.values()))))

    def finish(self, *, data: str = "") -> Verification:
        """The errors over all that was added. Raises BadInput when labels and samples differ in number."""
        if not self.samples:
            raise BadInput("there is no sample to verify with", where=data)
        outputs = tuple(_error(name, sums) for name, sums in self.sums.items())
        share = self.same / self.samples if self.classes else None
        return Verification(outputs, self.samples, share, self._top1(data), data=data)

    def _find_classes(self, reference: Feeds) -> None:
        self.classes = next((name for name, array in reference.items() if _classifies(array)), "")
        if self.classes and self.labels and not self.labels.metric:
            self.labels.check(reference[self.classes].shape[1])

    def _classify(self, expected: Array, found: Array) -> None:
        self.same += int((expected == found).sum())
        if self.labels:
            true = self.labels.values.ravel()[self.samples : self.samples + len(expected)]
            if len(true) == len(expected):
                counts = (int((classes == true).sum()) for classes in (expected, found))
                self.hits = (self.hits[0] + next(counts), self.hits[1] + next(counts))

    def _top1(self, data: str) -> Top1 | None:
        if self.labels is None:
            return None
        if len(self.labels.values) != self.samples:
            raise BadInput(f"there are {len(self.labels.values)} labels for {self.samples} samples", where=data)
        if self.labels.metric:
            metric: Metric = function.load(self.labels.metric, METRIC)
            with function.told(f"{METRIC} {self.labels.metric}"):
                before, after = (float(metric(_joined(kept), self.labels.values)) for kept in self.kept)
            if not (math.isfinite(before) and math.isfinite(after)):
                raise BadInput(f"it gives {before} and {after}", where=f"{METRIC} {self.labels.metric}")
            return Top1(before, after, self.samples)
        return Top1(self.hits[0] / self.samples, self.hits[1] / self.samples, self.samples) if self.classes else None


def verify(
    artifact: Artifact,
    batches: Iterable[tuple[Feeds, Feeds]],
    labels: Labels | None = None,
    *,
    data: str = "",
    threads: int = 1,
) -> Verification:
    """Run the artifact on every batch in a child and compare with the float model's outputs.

    Where it cannot run here, but holds the typed ONNX that it computes, that is run, and the result says so.

    Args:
        batches: feeds and the float model's outputs, by ONNX name, first axis samples.
        data: what the samples are, for the manifest and for errors.

    Raises:
        BadInput: no samples, or labels of another number.
        BackendFailed: the runtime failed, or put out NaN or infinity where the float model does not.
    """
    comparison, adapter = Comparison(labels), Adapter.of(artifact.manifest)
    itself = artifact.typed is None or can_run(artifact)
    with open_runner(artifact, threads) if itself else open_typed(artifact, threads) as runner:
        for feeds, expected in batches:
            comparison.add(expected, infer(runner, adapter, feeds, tuple(expected)))
        host = str(runner.facts().get("host", "native"))
    return replace(comparison.finish(data=data), of="artifact" if itself else "typed-onnx", host=host)


def verify_carried(artifact: Artifact, path: Path, threads: int = 1) -> Verification:
    """`verify` with the samples and outputs of `path`, the `reference.npz` that the artifact carries."""
    carried = reference.read(path)
    return verify(artifact, [(carried.feeds, carried.outputs)], data=path.name, threads=threads)


def infer(runner: RemoteRunner, adapter: Adapter, feeds: Feeds, names: tuple[str, ...] = ()) -> dict[str, Array]:
    """Outputs by ONNX name for feeds by ONNX name, in as many calls as the artifact's batch asks for."""
    parts: list[Feeds] = []
    for chunk, real in adapter.calls(feeds):
        outputs = adapter.fetch(runner.run(adapter.feed(chunk)), names)
        parts.append({name: array[:real] if array.ndim else array for name, array in outputs.items()})
    return _joined(parts)


def _joined(parts: list[Feeds]) -> dict[str, Array]:
    return {name: np.concatenate([np.atleast_1d(part[name]) for part in parts]) for name in parts[0]} if parts else {}


def _rows(array: Array) -> Array:
    """At least two axes, samples first, so that a vector is one column and not one row."""
    return array.reshape(-1, 1) if array.ndim < 2 else array


def _summary(labels: Array) -> str:
    """What an array of labels looks like."""
    numbers = labels.dtype.kind in "iuf" and labels.size
    span = f", from {labels.min()} to {labels.max()}" if numbers else ""
    return f"{labels.dtype} {list(labels.shape)}{span}"


def _classifies(array: Array) -> bool:
    return array.ndim == 2 and array.shape[1] > 1


def _compare(name: str, expected: Array, found: Array) -> Sums:
    if expected.shape != found.shape:
        raise BackendFailed(f"the output {name!r} has shape {found.shape}, the float model's has {expected.shape}")
    sums = Sums.of(expected, found)
    if not math.isfinite(sums.largest):
        raise BackendFailed(f"the output {name!r} is NaN or infinite where the float model's is not, or the reverse")
    return sums


def _error(name: str, sums: Sums) -> OutputError:
    sqnr = sums.sqnr_db if math.isfinite(sums.sqnr_db) else None
    return OutputError(name, sums.largest, sqnr, sums.cosine, sums.kl)
