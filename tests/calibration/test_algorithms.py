"""Each algorithm on ordinary and degenerate histograms."""

from __future__ import annotations

import numpy as np
import pytest

from effc.calibration.observers import Observer, TensorStatistics
from effc.calibration.ranges import ALGORITHMS, Grid, ranges
from effc.calibration.scheme import Spacing
from effc.calibration.statistics import Statistics
from effc.core.errors import BadInput

SPACINGS: tuple[Spacing, Spacing] = ("affine", "symmetric")
RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=200_000)
SHAPES = {
    "constant": np.full(100, 2.5),
    "negative constant": np.full(100, -2.5),
    "zero": np.zeros(100),
    "two spikes": np.repeat([-1.0, 3.0], 50),
    "one-sided": np.abs(NORMAL),
    "negative": -np.abs(NORMAL),
    "far from zero": 100 + NORMAL,
    "relu6": np.clip(NORMAL * 4, 0, 6),
    "outlier": np.append(NORMAL, 1000.0),
    "single": np.array([0.25]),
    "tiny": NORMAL * 1e-30,
}


def observe(values: np.ndarray) -> TensorStatistics:
    observer = Observer()
    observer.update(values.astype(np.float32))
    return observer.result()


def quantization_error(values: np.ndarray, lo: float, hi: float) -> float:
    """Mean squared error of 8-bit asymmetric quantization over [lo, hi] widened to hold 0."""
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    scale = (hi - lo) / 255 or 1.0
    zero = round(-lo / scale)
    q = np.clip(np.rint(values / scale) + zero, 0, 255)
    return float(np.mean(((q - zero) * scale - values) ** 2))


def symmetric_error(values: np.ndarray, reach: float) -> float:
    """Mean squared error of int8 over [-reach, reach], zero point 0."""
    scale = reach / 127 or 1.0
    return float(np.mean((np.clip(np.rint(values / scale), -127, 127) * scale - values) ** 2))


@pytest.mark.parametrize("method", ALGORITHMS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_range_lies_within_the_data_widened_to_zero(method: str, shape: str, spacing: Spacing) -> None:
    values = SHAPES[shape].astype(np.float32)
    found = ALGORITHMS[method](observe(values), Grid(spacing))
    assert min(values.min(), 0.0) <= found.lo <= found.hi <= max(values.max(), 0.0)


@pytest.mark.parametrize("method", ALGORITHMS)
@pytest.mark.parametrize("shape", ["constant", "negative constant", "two spikes", "single", "relu6", "zero"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_spikes_are_kept(method: str, shape: str, spacing: Spacing) -> None:
    """Where much of the mass lies on the ends, no algorithm may cut them off by more than a step."""
    values = SHAPES[shape].astype(np.float32)
    found = ALGORITHMS[method](observe(values), Grid(spacing))
    span = max(values.max(), 0.0) - min(values.min(), 0.0)
    step = span / 255 if spacing == "affine" else np.abs(values).max() / 127
    assert max(values.max(), 0.0) <= max(found.hi, 0.0) + step
    assert min(values.min(), 0.0) >= min(found.lo, 0.0) - step


@pytest.mark.parametrize(
    ("shape", "tolerance"),
    # With an outlier a step is wider than the data, so that rounding is not uniform within it.
    [("one-sided", 1.05), ("relu6", 1.05), ("outlier", 1.25), ("far from zero", 1.05), ("negative", 1.05)],
)
def test_mse_is_near_the_best_range(shape: str, tolerance: float) -> None:
    values = SHAPES[shape].astype(np.float32).astype(np.float64)
    observed = observe(values)
    found = ALGORITHMS["mse"](observed, Grid())
    error = quantization_error(values, found.lo, found.hi)
    tried = [quantization_error(values, observed.lo * f, observed.hi * f) for f in np.linspace(0.02, 1, 50)]
    assert error <= tolerance * min(tried)


@pytest.mark.parametrize("shape", ["one-sided", "relu6", "outlier", "far from zero", "negative"])
def test_mse_is_near_the_best_symmetric_range(shape: str) -> None:
    values = SHAPES[shape].astype(np.float32).astype(np.float64)
    found = ALGORITHMS["mse"](observe(values), Grid("symmetric"))
    error = symmetric_error(values, max(-found.lo, found.hi))
    tried = [symmetric_error(values, np.abs(values).max() * f) for f in np.linspace(0.02, 1, 50)]
    assert error <= (1.25 if shape == "outlier" else 1.05) * min(tried)


def test_steps_that_are_twice_as_wide_are_worth_more_clipping() -> None:
    """One side of a symmetric grid has 127 steps, where an affine one has 255."""
    observed = observe(SHAPES["one-sided"])
    affine, symmetric = (ALGORITHMS["mse"](observed, Grid(spacing)) for spacing in SPACINGS)
    assert symmetric.hi < affine.hi


@pytest.mark.parametrize("method", ["entropy", "mse", "minmax"])
def test_floats_keep_the_whole_range(method: str) -> None:
    observed = observe(SHAPES["outlier"])
    found = ranges(Statistics({"t": observed}, 1), method, spacing="float")
    assert found == {"t": observed.range}


@pytest.mark.parametrize("kept", [90.0, 99.0, 99.9])
def test_percentile_leaves_the_stated_share_outside(kept: float) -> None:
    values = NORMAL.astype(np.float32)
    found = ALGORITHMS["percentile"](observe(values), Grid(kept=kept))
    outside = 100 * np.mean((values < found.lo) | (values > found.hi))
    assert outside == pytest.approx(100 - kept, rel=0.1)


def test_entropy_cuts_off_a_lone_outlier() -> None:
    values = np.append(NORMAL, 30.0).astype(np.float32)
    found = ALGORITHMS["entropy"](observe(values), Grid())
    assert 3 < found.hi < 12


@pytest.mark.parametrize(("method", "kept"), [("median", 99.0), ("percentile", 0.0), ("percentile", 101.0)])
def test_unknown_method_or_percentile(method: str, kept: float) -> None:
    with pytest.raises(BadInput):
        ranges(Statistics({}, 0), method, kept)
