"""Latency of artifacts against each other: a child each, rounds interleaved A, B, A, B, timed inside the child."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from effc.bench import reference
from effc.bench.adapt import Adapter
from effc.bench.remote import RemoteRunner, open_runner
from effc.core import host
from effc.core.artifact import Artifact
from effc.core.errors import BadInput
from effc.core.manifest import FILE_NAME, TensorInfo
from effc.core.progress import Progress

Array = NDArray[np.generic]

NOISY = 0.15
_WARM_UP_S = 0.1
_SLICE_S = 0.02


@dataclass(frozen=True)
class BenchOptions:
    """How to measure.

    Attributes:
        threads: CPU threads of each runtime; its child is pinned to as many CPUs.
        rounds: how often every artifact takes its turn.
        min_time: seconds of timed inference for each artifact, over all rounds.
    """

    threads: int = 1
    rounds: int = 9
    min_time: float = 2.0


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a call."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    min: float
    max: float
    std: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Statistics of calls given in seconds; percentiles interpolate linearly."""
        ms = np.asarray(seconds, np.float64) * 1e3
        p50, p90, p95, p99 = (float(p) for p in np.percentile(ms, (50, 90, 95, 99)))
        return cls(float(ms.mean()), p50, p90, p95, p99, float(ms.min()), float(ms.max()), float(ms.std()))


@dataclass(frozen=True)
class BenchResult:
    """One artifact's figures.

    Attributes:
        calls: timed inferences.
        throughput_per_s: samples a second, from the mean.
        delegated: share 0..1 of ops that the fast kernels took, where the runtime tells.
        ratio: median over rounds of (median of this artifact / median of the first one in that round).
        spread: (largest - smallest) / median of the medians of the rounds.
    """

    target: str
    artifact: str
    device: str
    threads: int
    batch: int
    latency_ms: Latency
    throughput_per_s: float
    peak_rss_mb: float | None
    delegated: float | None
    file_bytes: int
    calls: int
    ratio: float
    spread: float


@dataclass(frozen=True)
class BenchReport:
    """What `effc bench --json` prints."""

    results: tuple[BenchResult, ...]
    warnings: tuple[str, ...]


@dataclass
class _Lane:
    """One artifact in its child, with its feeds and what was measured so far."""

    artifact: Artifact
    runner: RemoteRunner
    feeds: Mapping[str, Array]
    iterations: int
    rounds: list[tuple[float, ...]]

    @property
    def medians(self) -> list[float]:
        return [float(np.median(seconds)) for seconds in self.rounds]


def bench(
    artifacts: Sequence[Artifact], options: BenchOptions = BenchOptions(), progress: Progress | None = None
) -> BenchReport:
    """Warm up every artifact, then let them take turns for `rounds` rounds.

    Raises:
        BadInput: nothing to measure, or options that measure nothing.
        BackendMissing, BackendFailed: a runtime is absent or failed.
    """
    progress = progress or Progress()
    _check(artifacts, options)
    with ExitStack() as stack:
        with progress.stage("warm up"):
            lanes = [_lane(stack, artifact, options) for artifact in artifacts]
        with progress.stage("measure"):
            interleave(lanes, options.rounds, progress)
        results = tuple(_result(lane, lanes[0], options) for lane in lanes)
    return BenchReport(results, noise(results))


def interleave(lanes: Sequence[_Lane], rounds: int, progress: Progress) -> None:
    """A, B, A, B, ...: each round measures every lane once, so that a slow spell of the host meets them all."""
    for turn in range(rounds):
        for lane in lanes:
            lane.rounds.append(lane.runner.measure(lane.feeds, lane.iterations).seconds)
        progress.advance(turn + 1, rounds)


def noise(results: Sequence[BenchResult]) -> tuple[str, ...]:
    """A warning for each artifact whose rounds differ by more than NOISY."""
    return tuple(
        f"the host is noisy: the rounds of {result.artifact} spread by {result.spread:.0%}; trust ratios, not times"
        for result in results
        if result.spread > NOISY
    )


def spread(medians: Sequence[float]) -> float:
    """(largest - smallest) / median."""
    return float((max(medians) - min(medians)) / np.median(medians))


def ratio(medians: Sequence[float], baseline: Sequence[float]) -> float:
    """Median over rounds of the quotient of the two medians of that round."""
    return float(np.median(np.asarray(medians) / np.asarray(baseline)))


def feeds_of(artifact: Artifact) -> dict[str, Array]:
    """One batch in the artifact's own form: from its reference, else seeded random values of the right shapes."""
    adapter = Adapter.of(artifact.manifest)
    if artifact.reference is not None:
        return adapter.feed(adapter.one(reference.read(artifact.reference).feeds))
    draw = np.random.default_rng(0)
    return {info.name: _random(info, draw) for info in artifact.manifest.inputs}


def _random(info: TensorInfo, draw: np.random.Generator) -> Array:
    dtype, dims = np.dtype(info.dtype), [dim if isinstance(dim, int) else 1 for dim in info.shape]
    if np.issubdtype(dtype, np.floating):
        return draw.standard_normal(dims).astype(dtype)
    return np.zeros(dims, dtype) if info.scale is None else draw.integers(0, 127, dims).astype(dtype)


def _check(artifacts: Sequence[Artifact], options: BenchOptions) -> None:
    if not artifacts:
        raise BadInput("no artifact is named", hint="for example: effc bench out/ort-fp32 out/tflite-int8")
    for name, value in (("--threads", options.threads), ("--rounds", options.rounds), ("--min-time", options.min_time)):
        if not 0 < value < math.inf:
            raise BadInput(f"{value} is not a positive number", where=name)


def _lane(stack: ExitStack, artifact: Artifact, options: BenchOptions) -> _Lane:
    """Load the artifact, run it until it is warm, and find how many calls fill its share of a round."""
    runner = stack.enter_context(open_runner(artifact, options.threads))
    feeds = feeds_of(artifact)
    one = _warm_up(runner, feeds)
    share = max(options.min_time / options.rounds, _SLICE_S)
    return _Lane(artifact, runner, feeds, max(1, round(share / one)), [])


def _warm_up(runner: RemoteRunner, feeds: Mapping[str, Array]) -> float:
    """Seconds of a call once caches, allocators and clocks have settled."""
    end, calls = time.perf_counter() + _WARM_UP_S, 1
    while True:
        seconds = runner.measure(feeds, calls).seconds
        calls = min(calls * 2, 64)
        if time.perf_counter() > end:
            return max(float(np.median(seconds)), 1e-7)


def _result(lane: _Lane, first: _Lane, options: BenchOptions) -> BenchResult:
    latency = Latency.of([call for seconds in lane.rounds for call in seconds])
    batch = next((array.shape[0] for array in lane.feeds.values() if array.ndim), 1)
    facts = lane.runner.facts()
    return BenchResult(
        target=lane.artifact.manifest.target,
        artifact=str(_place(lane.artifact)),
        device=host.cpu_name(),
        threads=options.threads,
        batch=batch,
        latency_ms=latency,
        throughput_per_s=batch * 1e3 / latency.mean,
        peak_rss_mb=_number(facts.get("peak_rss_mb")),
        delegated=_share(facts),
        file_bytes=lane.artifact.size,
        calls=sum(len(seconds) for seconds in lane.rounds),
        ratio=ratio(lane.medians, first.medians),
        spread=spread(lane.medians),
    )


def _place(artifact: Artifact) -> Path:
    """The folder, or for a model that stands outside of any artifact its file."""
    whole = (artifact.folder / FILE_NAME).exists() or artifact.main is None
    return artifact.folder if whole else artifact.folder / str(artifact.main)


def _share(facts: Mapping[str, float | int | str]) -> float | None:
    total, delegated = _number(facts.get("ops_total")), _number(facts.get("ops_delegated"))
    return delegated / total if total and delegated is not None else None


def _number(value: float | int | str | None) -> float | None:
    return float(value) if isinstance(value, int | float) else None
