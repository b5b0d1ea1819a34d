"""Layers stay in float32 where samples show that float16 would lose too much of the outputs, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx.parser
import pytest
import support

from effc.calibration.delicate import narrow_observed
from effc.calibration.known import Known
from effc.calibration.readers import Dataset, open_data
from effc.calibration.statistics import Statistics
from effc.compiler import ir, metrics, pipeline
from effc.compiler.oracle import Session, graph_inputs
from effc.compiler.passes.precision import Narrowed, Narrowing
from effc.compiler.widen import widen
from effc.core.options import CalibrationOptions, DataOptions
from effc.stages import calibrated

LEAST_DB = 66.0
"""More than mnist_minimobile keeps in float16 throughout."""
Calibrated = tuple[ir.Model, tuple[Dataset, Statistics]]


@pytest.fixture(scope="module")
def digits(mnist: support.Classifier) -> Calibrated:
    model = pipeline.prepare(mnist.model, proof=False).model
    return model, calibrated(model, CalibrationOptions(DataOptions(str(mnist.calib))))


def narrowed(digits: Calibrated, least_db: float, dtype: str = "float16") -> Narrowed:
    model, data = digits
    return narrow_observed(model, Narrowing(dtype, least_db=least_db), Known.of(model, *data))


def sqnr_db(mnist: support.Classifier, digits: Calibrated, found: Narrowed) -> float:
    """Over samples that the search has not seen."""
    samples = open_data(DataOptions(str(mnist.evaluation)), graph_inputs(digits[0]))
    feeds = next(samples.batches(64))
    expected, got = (Session(model).run(feeds)["logits"] for model in (digits[0], widen(found.model)))
    return metrics.sqnr_db(expected, got)


def measured(found: Narrowed) -> set[str]:
    """Nodes that samples, not rules, have kept in float32."""
    return {node for node, why in found.kept.items() if "dB of the outputs" in why}


def test_as_many_layers_return_as_it_takes(mnist: support.Classifier, digits: Calibrated) -> None:
    plain, kept = narrowed(digits, 0.0), narrowed(digits, LEAST_DB)
    assert sqnr_db(mnist, digits, plain) < LEAST_DB <= sqnr_db(mnist, digits, kept)
    assert not measured(plain) and measured(kept)
    assert "float16" in kept.precision.values()


def test_what_keeps_enough_is_left_alone(digits: Calibrated) -> None:
    assert narrowed(digits, 40.0).precision == narrowed(digits, 0.0).precision


def test_bfloat16_is_left_at_the_rules(digits: Calibrated) -> None:
    assert not measured(narrowed(digits, LEAST_DB, "bfloat16"))


def test_a_model_that_takes_float16_is_searched_too(tmp_path: Path) -> None:
    text = "<ir_version: 10, opset_import: ['': 21]> g (float16[N,4] x) => (float16[N,4] y) { y = Softmax(x) }"
    model = ir.from_proto(onnx.parser.parse_model(text.replace("'", '"')))
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).standard_normal((16, 4)).astype(np.float16))
    data = calibrated(model, CalibrationOptions(DataOptions(str(tmp_path / "x.npz"))))
    assert narrow_observed(model, Narrowing("float16"), Known.of(model, *data)).model
