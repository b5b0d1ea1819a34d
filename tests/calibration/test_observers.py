"""Observers: exact, whatever the order and the split of the data."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from effc.calibration.observers import BINS, Histogram, Observer, TensorStatistics

LARGE = float(np.float32(3e38))
WIDE = st.floats(-LARGE, LARGE, width=32, allow_subnormal=False)
NARROW = st.floats(-8, 8, width=32, allow_subnormal=False)
DATA = arrays.arrays(np.float32, st.integers(1, 60), elements=st.one_of(WIDE, NARROW, st.just(0.0)))


def observe(*batches: np.ndarray) -> TensorStatistics:
    observer = Observer()
    for batch in batches:
        assert observer.update(batch)
    return observer.result()


def same(a: Histogram, b: Histogram) -> bool:
    return (a.exponent, a.first) == (b.exponent, b.first) and np.array_equal(a.counts, b.counts)


def reference(values: np.ndarray, histogram: Histogram) -> np.ndarray:
    bins = [int(np.floor(np.longdouble(v) / np.longdouble(histogram.width))) for v in values.ravel()]
    return np.bincount(np.array(bins) - histogram.first, minlength=len(histogram.counts))


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=(3, 5, 7, 7)),
        np.random.default_rng(1).normal(size=(100_000,)) * 1e-3,
        np.clip(np.random.default_rng(2).normal(size=(2, 40_000)) * 4, 0, 6),
        np.full((4, 4), -2.5),
        np.zeros(10),
        np.array([-1e-45, 3e38]),
        np.array([5.0]),
    ],
    ids=["normal", "small", "relu6", "constant", "zero", "extreme", "one"],
)
def test_histogram_equals_numpy(values: np.ndarray) -> None:
    values = values.astype(np.float32)
    found = observe(values)
    assert (found.lo, found.hi, found.count) == (values.min(), values.max(), values.size)
    assert np.array_equal(found.histogram.counts, reference(values, found.histogram))
    assert len(found.histogram.counts) <= BINS
    if values.ndim > 1:
        axes = tuple(i for i in range(values.ndim) if i != 1)
        assert np.allclose(found.channel_mean, values.mean(axis=axes, dtype=np.float64), rtol=1e-5, atol=1e-6)


@given(DATA, st.lists(st.integers(0, 60), max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_any_split_and_order_gives_the_same_histogram(data: np.ndarray, cuts: list[int], random: object) -> None:
    whole = observe(data)
    bounds = sorted({0, len(data), *(c for c in cuts if c < len(data))})
    shards = [data[a:b] for a, b in pairwise(bounds)]
    random.shuffle(shards)  # type: ignore[attr-defined]
    merged = observe(shards[0])
    for shard in shards[1:]:
        merged = merged.merge(observe(shard))
    streamed = observe(*shards)
    for other in (merged, streamed):
        assert same(whole.histogram, other.histogram)
        assert (whole.lo, whole.hi) == (other.lo, other.hi)


@given(DATA)
@settings(max_examples=100, deadline=None)
def test_bins_are_the_smallest_that_fit(data: np.ndarray) -> None:
    found = observe(data)
    last = found.histogram.first + len(found.histogram.counts) - 1
    assert found.histogram.first <= 0 <= last
    assert found.count == data.size
    finer = found.histogram.width / 2
    spread = np.floor(max(found.hi, 0) / finer) - np.floor(min(found.lo, 0) / finer) + 1
    assert spread > BINS or found.histogram.exponent == -120


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused_and_not_counted(bad: float) -> None:
    observer = Observer()
    observer.update(np.ones((2, 3), np.float32))
    assert not observer.update(np.array([[1.0, bad, 1.0]], np.float32))
    assert observer.result().count == 6
