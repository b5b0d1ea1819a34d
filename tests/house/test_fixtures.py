"""The committed models score what their README says on the committed data."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import support

TOP1 = {"mnist_minimobile": 0.986, "fashion_minires": 0.924}


@pytest.mark.parametrize("part,count", [("calib", 128), ("evaluation", 500)])
def test_data_is_preprocessed(trained: support.Classifier, part: str, count: int) -> None:
    images, labels = trained.load(part)
    assert images.shape == (count, 1, 28, 28) and images.dtype == np.float32
    assert set(np.unique(labels)) == set(range(10))


def test_float_top1(trained: support.Classifier) -> None:
    images, labels = trained.load()
    session = onnxruntime.InferenceSession(trained.model, providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {support.INPUT: images})[0]
    assert np.mean(logits.argmax(1) == labels) == pytest.approx(TOP1[trained.name], abs=0.002)
