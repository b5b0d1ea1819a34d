"""Latency of artifacts, and of what users have besides, against each other.

A child each, rounds interleaved A, B, A, B, timed inside the child.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from effc.backends.base import Timing
from effc.bench import reference
from effc.bench.adapt import Adapter
from effc.bench.remote import RemoteRunner, open_runner
from effc.core import host
from effc.core.artifact import Artifact
from effc.core.errors import BadInput, EffcError
from effc.core.manifest import FILE_NAME, TensorInfo
from effc.core.profiles import sizes
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
        streams: batches in flight when throughput is measured, for runners that keep several.
    """

    threads: int = 1
    rounds: int = 9
    min_time: float = 2.0
    streams: int = 1


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
        throughput_per_s: samples a second: from the mean, or measured with `streams` batches in flight.
        delegated: share 0..1 of ops that the fast kernels took, where the runtime tells.
        ratio: median over rounds of (median of this artifact / median of the first one in that round).
        spread: (largest - smallest) / median of the medians of the rounds.
        gpu_ms, copies_ms: on the GPU's clock, the kernels and the copies of inputs and outputs, where there is one;
            `latency_ms` is the host's time of the kernels without the copies.
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
    gpu_ms: Latency | None = None
    copies_ms: Latency | None = None
    streams: int = 1


@dataclass(frozen=True)
class BenchReport:
    """What `effc bench --json` prints."""

    results: tuple[BenchResult, ...]
    warnings: tuple[str, ...]


Feeds = Mapping[str, Array]


@dataclass(frozen=True)
class Entry:
    """What takes turns: an artifact, or something else that runs the same model.

    Attributes:
        name: what the report calls it.
        feeds: one batch in its own form.
        open: from CPU threads to its runner, which lives as long as the block.
    """

    target: str
    name: str
    feeds: Feeds
    bytes: int
    open: Callable[[int], AbstractContextManager[RemoteRunner]]


def entry(artifact: Artifact) -> Entry:
    """An artifact with its reference's first batch."""
    target, name = artifact.manifest.target, str(_place(artifact))
    return Entry(target, name, feeds_of(artifact), artifact.size, partial(open_runner, artifact))


@dataclass
class Lane:
    """An entry in its child, and what was measured so far.

    Attributes:
        iterations: calls of one turn.
        streams: batches in flight, 1 for a runner that keeps no several.
        flows: samples a second, of each turn, where there are several streams.
    """

    entry: Entry
    runner: RemoteRunner
    iterations: int
    share: float = _SLICE_S
    streams: int = 1
    rounds: list[Timing] = field(default_factory=list)
    flows: list[float] = field(default_factory=list)

    @property
    def medians(self) -> list[float]:
        """Of the host's seconds, for each round."""
        return [float(np.median(timing.seconds)) for timing in self.rounds]

    def turn(self) -> None:
        """One round's share of calls, and of batches in flight."""
        self.rounds.append(self.runner.measure(self.entry.feeds, self.iterations))
        if self.streams > 1:
            self.flows.append(self.runner.throughput(self.entry.feeds, self.streams, self.share))


def bench(
    artifacts: Sequence[Artifact],
    options: BenchOptions = BenchOptions(),
    progress: Progress | None = None,
    peers: Sequence[Entry] = (),
) -> BenchReport:
    """Warm up every artifact and peer, then let them take turns for `rounds` rounds.

    A peer that cannot start is left out, and a warning says why.

    Raises:
        BadInput: nothing to measure, or options that measure nothing.
        BackendMissing, BackendFailed: a runtime is absent or failed.
    """
    progress = progress or Progress()
    _check(artifacts, options)
    with ExitStack() as stack:
        with progress.stage("warm up"):
            lanes = [_lane(stack, entry(artifact), options) for artifact in artifacts]
            others, absent = _others(stack, peers, options)
        with progress.stage("measure"):
            interleave([*lanes, *others], options.rounds, progress)
        results = tuple(_result(lane, lanes[0], options) for lane in (*lanes, *others))
    return BenchReport(results, (*absent, *noise(results), *_single(results, options)))


def _others(stack: ExitStack, peers: Sequence[Entry], options: BenchOptions) -> tuple[list[Lane], list[str]]:
    """The peers that are here, and why the others are not."""
    lanes, absent = [], []
    for peer in peers:
        try:
            lanes.append(_lane(stack, peer, options))
        except EffcError as error:
            absent.append(f"{peer.name} is left out: {error.what}" + (f" ({error.hint})" if error.hint else ""))
    return lanes, absent


def interleave(lanes: Sequence[Lane], rounds: int, progress: Progress) -> None:
    """A, B, A, B, ...: each round measures every lane once, so that a slow spell of the host meets them all."""
    for turn in range(rounds):
        for lane in lanes:
            lane.turn()
        progress.advance(turn + 1, rounds)


def _single(results: Sequence[BenchResult], options: BenchOptions) -> tuple[str, ...]:
    """A warning that names what runs one batch at a time although several streams are asked for."""
    names = [result.artifact for result in results if result.streams < options.streams]
    what = "its throughput is" if len(names) == 1 else "their throughput is"
    return (f"{', '.join(names)}: one batch at a time, so {what} not that of --streams",) if names else ()


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
    draw, inputs = np.random.default_rng(0), artifact.manifest.inputs
    tuned = sizes({info.name: info.shape for info in inputs}, artifact.manifest.profiles)
    return {info.name: _random(info, draw, tuned) for info in inputs}


def onnx_feeds(artifacts: Sequence[Artifact]) -> Feeds:
    """One batch by ONNX name, of the first artifact that holds a reference; else the first one's random feeds."""
    for artifact in artifacts:
        if artifact.reference is not None:
            return Adapter.of(artifact.manifest).one(reference.read(artifact.reference).feeds)
    return feeds_of(artifacts[0])


def _random(info: TensorInfo, draw: np.random.Generator, tuned: Mapping[str, int]) -> Array:
    dtype, dims = np.dtype(info.dtype), [dim if isinstance(dim, int) else tuned.get(dim, 1) for dim in info.shape]
    if dtype.kind in "fV":  # V: bfloat16
        return draw.standard_normal(dims).astype(dtype)
    return np.zeros(dims, dtype) if info.scale is None else draw.integers(0, 127, dims).astype(dtype)


def _check(artifacts: Sequence[Artifact], options: BenchOptions) -> None:
    if not artifacts:
        raise BadInput("no artifact is named", hint="for example: effc bench out/ort-fp32 out/tflite-int8")
    counts = (("--threads", options.threads), ("--rounds", options.rounds), ("--streams", options.streams))
    for name, value in (*counts, ("--min-time", options.min_time)):
        if not 0 < value < math.inf:
            raise BadInput(f"{value} is not a positive number", where=name)


def _lane(stack: ExitStack, entry: Entry, options: BenchOptions) -> Lane:
    """Load it, run it until it is warm, and find how many calls fill its share of a round."""
    runner = stack.enter_context(entry.open(options.threads))
    one = _warm_up(runner, entry.feeds)
    share = max(options.min_time / options.rounds, _SLICE_S)
    streams = options.streams if options.streams > 1 and runner.streams else 1
    return Lane(entry, runner, max(1, round(share / one)), share, streams)


def _warm_up(runner: RemoteRunner, feeds: Feeds) -> float:
    """Seconds of a call once caches, allocators and clocks have settled."""
    end, calls = time.perf_counter() + _WARM_UP_S, 1
    while True:
        seconds = runner.measure(feeds, calls).seconds
        calls = min(calls * 2, 64)
        if time.perf_counter() > end:
            return max(float(np.median(seconds)), 1e-7)


def _result(lane: Lane, first: Lane, options: BenchOptions) -> BenchResult:
    latency = Latency.of([call for timing in lane.rounds for call in timing.seconds])
    batch = next((array.shape[0] for array in lane.entry.feeds.values() if array.ndim), 1)
    facts = lane.runner.facts()
    return BenchResult(
        target=lane.entry.target,
        artifact=lane.entry.name,
        device=str(facts.get("gpu") or host.cpu_name()),
        threads=options.threads,
        batch=batch,
        latency_ms=latency,
        throughput_per_s=float(np.median(lane.flows)) if lane.flows else batch * 1e3 / latency.mean,
        peak_rss_mb=_number(facts.get("peak_rss_mb")),
        delegated=_share(facts),
        file_bytes=lane.entry.bytes,
        calls=sum(len(timing.seconds) for timing in lane.rounds),
        ratio=ratio(lane.medians, first.medians),
        spread=spread(lane.medians),
        gpu_ms=_some([call for timing in lane.rounds for call in timing.gpu]),
        copies_ms=_some([call for timing in lane.rounds for call in timing.copies]),
        streams=lane.streams,
    )


def _some(seconds: Sequence[float]) -> Latency | None:
    return Latency.of(seconds) if seconds else None


def _place(artifact: Artifact) -> Path:
    """The folder, or for a model that stands outside of any artifact its file."""
    whole = (artifact.folder / FILE_NAME).exists() or artifact.main is None
    return artifact.folder if whole else artifact.folder / str(artifact.main)


def _share(facts: Mapping[str, float | int | str]) -> float | None:
    total, delegated = _number(facts.get("ops_total")), _number(facts.get("ops_delegated"))
    return delegated / total if total and delegated is not None else None


def _number(value: float | int | str | None) -> float | None:
    return float(value) if isinstance(value, int | float) else None
