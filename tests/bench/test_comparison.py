"""The streaming comparison: any cut of the samples gives what the metrics give on the whole."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from effc.bench.accuracy import Comparison, Labels
from effc.compiler import metrics
from effc.core.errors import BackendFailed, BadInput
from effc.core.manifest import Top1, Verification

Array = NDArray[np.float32]
COUNT, CLASSES = 23, 5


def softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)


def pair(seed: int, kind: str) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    reference = (random.standard_normal((COUNT, CLASSES)) * 3).astype(np.float32)
    result = (reference + random.standard_normal(reference.shape) * 0.7).astype(np.float32)
    if kind == "probabilities":
        return softmax(reference), np.asarray(np.round(softmax(result) * 256) / 256, np.float32)
    if kind == "map":
        return reference.reshape(COUNT, CLASSES, 1, 1), result.reshape(COUNT, CLASSES, 1, 1)
    if kind == "mixed":
        return np.concatenate([softmax(reference[:9]), reference[9:]]), result
    return (reference[:, 0], result[:, 0]) if kind == "vector" else (reference, result)


def stream(reference: Array, result: Array, cuts: list[int], labels: Labels | None = None) -> Verification:
    comparison = Comparison(labels)
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < COUNT}), COUNT]
    for start, end in itertools.pairwise(edges):
        comparison.add({"y": reference[start:end]}, {"y": result[start:end]})
    return comparison.finish(data="d")


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 99),
    st.sampled_from(["logits", "probabilities", "map", "vector", "mixed"]),
    st.lists(st.integers(1, COUNT - 1), max_size=6),
)
def test_any_cut_equals_the_whole(seed: int, kind: str, cuts: list[int]) -> None:
    reference, result = pair(seed, kind)
    labels = np.random.default_rng(seed).integers(0, CLASSES, COUNT)
    found = stream(reference, result, cuts, Labels(labels))
    [output] = found.outputs
    wide = (reference.reshape(COUNT, -1), result.reshape(COUNT, -1)) if kind == "vector" else (reference, result)
    assert output.max_abs == metrics.max_abs(*wide)
    assert output.sqnr_db == pytest.approx(metrics.sqnr_db(*wide), rel=1e-9)
    assert output.cosine == pytest.approx(metrics.cosine(*wide), rel=1e-9)
    assert output.kl == pytest.approx(metrics.kl(*wide), rel=1e-9, abs=1e-12)
    assert found.samples == COUNT
    if reference.ndim == 2:
        assert found.agreement == metrics.agreement(reference, result)
        assert found.top1 == Top1(metrics.top1(reference, labels), metrics.top1(result, labels), COUNT)
    else:
        assert found.agreement is None
        assert found.top1 is None


def test_equal_outputs() -> None:
    reference, _ = pair(0, "logits")
    [output] = stream(reference, reference, [4]).outputs
    assert (output.max_abs, output.sqnr_db, output.kl) == (0.0, None, 0.0)
    assert output.cosine == pytest.approx(1.0)


def test_naive_formulas() -> None:
    reference, result = pair(1, "logits")
    [output] = stream(reference, result, [7]).outputs
    a, b = reference.astype(np.float64), result.astype(np.float64)
    assert output.sqnr_db == pytest.approx(10 * math.log10((a**2).sum() / ((a - b) ** 2).sum()))
    assert output.cosine == pytest.approx((a * b).sum() / math.sqrt((a**2).sum() * (b**2).sum()))
    p, q = softmax(a), softmax(b)  # type: ignore[arg-type]
    assert output.kl == pytest.approx(float((p * np.log(p / q)).sum(axis=1).mean()), rel=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_named(value: float) -> None:
    reference, result = pair(0, "logits")
    result[3, 1] = value
    with pytest.raises(BackendFailed, match="'y' is NaN or infinite"):
        stream(reference, result, [])


def test_the_same_infinity_is_equal() -> None:
    reference, _ = pair(0, "logits")
    reference[3, 1] = np.inf
    assert stream(reference, reference.copy(), [5]).outputs[0].max_abs == 0.0


def test_shapes_must_agree() -> None:
    with pytest.raises(BackendFailed, match=r"'y' has shape \(2, 2\), the float model's has \(2, 3\)"):
        Comparison().add({"y": np.zeros((2, 3))}, {"y": np.zeros((2, 2))})


def test_too_few_labels() -> None:
    reference, result = pair(0, "logits")
    with pytest.raises(BadInput, match="22 labels for 23 samples"):
        stream(reference, result, [], Labels(np.zeros(COUNT - 1, np.int64)))


@pytest.mark.parametrize(
    "labels",
    [np.arange(COUNT), np.full(COUNT, -1), np.full(COUNT, 0.5), np.full(COUNT, np.nan), np.eye(COUNT), ["1"] * COUNT],
    ids=["too large", "negative", "half", "NaN", "one-hot", "text"],
)
def test_labels_that_are_no_classes(labels: NDArray[np.generic]) -> None:
    with pytest.raises(BadInput, match="d: its labels are not one class from 0 to 4"):
        stream(*pair(0, "logits"), [], Labels(np.asarray(labels), source="d"))


@pytest.mark.parametrize("labels", [np.ones(COUNT), np.ones((COUNT, 1), np.uint8), np.ones(COUNT, bool)])
def test_labels_that_are_classes(labels: NDArray[np.generic]) -> None:
    reference, result = pair(0, "logits")
    expected = stream(reference, result, [], Labels(np.ones(COUNT, np.int64))).top1
    assert stream(reference, result, [], Labels(labels)).top1 == expected


def test_no_samples() -> None:
    with pytest.raises(BadInput, match="no sample"):
        Comparison().finish()


def positive_share(outputs: dict[str, Array], labels: Array) -> float:
    """A metric as a user would write it; it must see every sample at once."""
    assert len(outputs["y"]) == len(labels) == COUNT
    return float((outputs["y"][:, 0] > 0).mean())


def test_a_metric_of_the_users_replaces_top1(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    module = types.ModuleType("users_metric")
    module.share = positive_share  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "users_metric", module)
    reference, result = pair(0, "map")
    labels = Labels(np.zeros(COUNT, np.int64), "users_metric:share")
    found = stream(reference, result, [3, 11], labels)
    expected = (float((array[:, 0] > 0).mean()) for array in (reference, result))
    assert found.top1 == Top1(*expected, COUNT)


def test_a_metric_that_gives_no_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "odd_metric.py").write_text("def nan(outputs, labels): return float('nan')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BadInput, match="odd_metric:nan: it gives nan"):
        stream(*pair(0, "map"), [], Labels(np.zeros(COUNT), "odd_metric:nan"))


@pytest.mark.parametrize("name", ["nowhere:f", "math:nothing", "math", ""])
def test_a_metric_that_is_not_there(name: str) -> None:
    with pytest.raises(BadInput, match="there is no function"):
        Labels.of(np.zeros(3), name or "math", "d.npz")
