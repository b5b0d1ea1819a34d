"""Latency statistics, ratios, noise, and the order of interleaved rounds."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from effc.backends.base import Feeds, Timing
from effc.bench.measure import NOISY, BenchResult, Entry, Lane, Latency, interleave, noise, ratio, spread
from effc.bench.report import latencies
from effc.core.encode import to_json
from effc.core.progress import Progress

SECONDS = st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=50)


@settings(max_examples=60, deadline=None)
@given(SECONDS)
def test_percentiles_are_numpys(seconds: list[float]) -> None:
    ms = np.asarray(seconds) * 1e3
    found = Latency.of(seconds)
    expected = {"mean": ms.mean(), "min": ms.min(), "max": ms.max(), "std": ms.std()}
    expected |= {f"p{q}": np.percentile(ms, q) for q in (50, 90, 95, 99)}
    assert {f.name for f in fields(Latency)} == set(expected)
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value)


@pytest.mark.parametrize(
    ("medians", "baseline", "expected"),
    [([2.0, 4.0, 6.0], [1.0, 2.0, 3.0], 2.0), ([1.0, 9.0, 1.0], [2.0, 18.0, 1.0], 0.5), ([3.0], [3.0], 1.0)],
)
def test_ratio_goes_round_by_round(medians: list[float], baseline: list[float], expected: float) -> None:
    assert ratio(medians, baseline) == expected


@pytest.mark.parametrize(("medians", "expected"), [([1.0], 0.0), ([2.0, 2.0], 0.0), ([1.0, 2.0, 2.5], 0.75)])
def test_spread(medians: list[float], expected: float) -> None:
    assert spread(medians) == expected


def result(target: str, spread_: float) -> BenchResult:
    latency = Latency.of([1e-3])
    return BenchResult(target, f"out/{target}", "cpu", 1, 1, latency, 1e3, None, None, 1, 1, 1.0, spread_)


def test_noise_is_told_of_the_lane_that_has_it() -> None:
    [warning] = noise([result("calm-fp32", NOISY), result("loud-int8", NOISY + 0.01)])
    assert "loud-int8" in warning
    assert "16%" in warning


@dataclass
class Recorder:
    """A runner that notes when its turn came."""

    name: str
    order: list[str]

    def measure(self, feeds: Feeds, iterations: int) -> Timing:
        del feeds
        self.order.append(self.name)
        return Timing((1e-3,) * iterations)

    def throughput(self, feeds: Feeds, streams: int, seconds: float) -> float:
        del feeds, seconds
        self.order.append(f"{self.name} in {streams} streams")
        return 100.0


def lane(name: str, iterations: int, order: list[str], streams: int = 1) -> Lane:
    entry = Entry("t", name, {}, 1, open=lambda threads: nullcontext())  # type: ignore[arg-type, return-value]
    return Lane(entry, Recorder(name, order), iterations, streams=streams)  # type: ignore[arg-type]


def test_rounds_are_interleaved() -> None:
    order: list[str] = []
    lanes = [lane(name, count, order) for name, count in (("A", 2), ("B", 5), ("C", 1))]
    interleave(lanes, 4, Progress())
    assert order == ["A", "B", "C"] * 4
    assert [[len(timing.seconds) for timing in each.rounds] for each in lanes] == [[2] * 4, [5] * 4, [1] * 4]


def test_throughput_takes_its_turn() -> None:
    order: list[str] = []
    lanes = [lane("A", 1, order), lane("B", 1, order, streams=4)]
    interleave(lanes, 2, Progress())
    assert order == ["A", "B", "B in 4 streams"] * 2
    assert [each.flows for each in lanes] == [[], [100.0, 100.0]]


def rendered(results: list[BenchResult]) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(latencies(results))
    found = console.file
    assert isinstance(found, io.StringIO)
    return found.getvalue()


def test_gpu_time_and_copies_are_shown_where_there_are_any() -> None:
    cpu = result("ort-fp32", 0.0)
    gpu = replace(cpu, gpu_ms=Latency.of([0.25e-3]), copies_ms=Latency.of([0.125e-3]), device="a GPU")
    assert "GPU ms" not in rendered([cpu])
    heads, first, second = rendered([cpu, gpu]).splitlines()
    assert heads.split()[-5:] == ["GPU", "ms", "copies", "ms", "device"]
    assert first.split()[-3:] == ["-", "-", "cpu"]
    assert second.split()[-4:] == ["0.250", "0.125", "a", "GPU"]


def test_results_have_a_json_form() -> None:
    made = replace(result("trt-fp16", 0.0), gpu_ms=Latency.of([1e-3]), streams=4)
    found = json.loads(to_json(made))
    assert found["gpu_ms"]["p50"] == 1.0
    assert (found["copies_ms"], found["streams"]) == (None, 4)
