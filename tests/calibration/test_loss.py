"""The loss of a precision: even noise is told by its average, noise of a few samples by the noisiest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from effc.calibration.loss import Judge, Loss
from effc.calibration.readers import open_data
from effc.compiler import ir
from effc.compiler.oracle import graph_inputs
from effc.core.options import DataOptions
from effc.core.progress import Progress

COUNT = 64
EVEN = np.linspace(0.5, 1.5, COUNT)
RARE = np.where(np.arange(COUNT) == 7, 33.0, 1.0) / 1.5
"""The same total as EVEN, a third of it in one sample."""
MARGIN = 10.0**0.1


def loss(*outputs: np.ndarray, signal: float = 1.0) -> Loss:
    noise = np.stack(outputs, axis=1) if outputs else np.zeros((COUNT, 0))
    return Loss(noise, np.full(len(outputs), signal), np.ones(len(outputs)), COUNT)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (loss(EVEN), MARGIN * COUNT),
        (loss(np.ones(COUNT)), COUNT),
        (loss(RARE), COUNT * 22.0),
        (loss(EVEN, RARE), COUNT * 22.0),
        (loss(EVEN, 2.0 * EVEN), 2.0 * MARGIN * COUNT),
        (loss(EVEN, signal=4.0), MARGIN * COUNT / 4.0),
        (loss(np.zeros(COUNT)), 0.0),
        (loss(), 0.0),
    ],
    ids=["even", "constant", "rare", "the worst output", "two even", "signal", "none", "no outputs"],
)
def test_bound(found: Loss, expected: float) -> None:
    assert found.bound == pytest.approx(expected)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_noise_that_is_not_finite_is_large(bad: float) -> None:
    assert 1e20 < loss(np.where(np.arange(COUNT) == 3, bad, 1.0)).bound < np.inf


def test_the_hardest_samples_stand_for_all(tmp_path: Path) -> None:
    """A model that rounds to float16 where the float one does not: noise lies where the values are no float16."""
    text = "<ir_version: 10, opset_import: ['': 21]> g (float[N,4] x) => (float[N,4] y) { y = Identity(x) }"
    rounds = text.replace("y = Identity(x)", "h = Cast<to=10>(x) y = Cast<to=1>(h)")
    exact, narrow = (ir.from_proto(onnx.parser.parse_model(each.replace("'", '"'))) for each in (text, rounds))
    values = np.ones((COUNT, 4), np.float32)
    values[[5, 40]] = 1.0003
    np.savez(tmp_path / "x.npz", x=values)
    judge = Judge(exact, open_data(DataOptions(str(tmp_path / "x.npz")), graph_inputs(exact)), Progress())
    whole = judge.loss(narrow)
    assert set(whole.hardest[:2]) == {5, 40}
    assert judge.hardest(whole).loss(narrow).bound == pytest.approx(whole.bound)
