"""Damaged files load or are refused as bad input: nothing else, whatever bits are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from effc.compiler import frontend, ir
from effc.core.errors import BadInput

FIXTURE = (Path(__file__).parents[1] / "fixtures" / "mnist_minimobile.onnx").read_bytes()
HEADER = 4000
"""Damage near the end of such a file falls into weights mostly; the graph lies around its ends."""


def damaged(kind: str, seed: int) -> bytes:
    random = np.random.default_rng(seed)
    data = bytearray(FIXTURE)
    if kind == "cut":
        return bytes(data[: int(random.integers(0, len(data)))])
    places = random.integers(0, len(data), 400) if kind == "anywhere" else random.integers(0, HEADER, 1 + seed % 4)
    if kind == "end":
        places = len(data) - 1 - places
    for place in places:
        data[place] ^= 1 << int(random.integers(0, 8))
    return bytes(data)


CASES = [(kind, seed) for kind in ("cut", "anywhere", "start", "end") for seed in range(15)]


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_damaged_file(kind: str, seed: int, tmp_path: Path) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(damaged(kind, seed))
    try:
        model = frontend.load(path).model
    except BadInput as error:
        assert "damaged.onnx" in str(error)
    else:
        assert model.opset_imports[""] == ir.INTERNAL_OPSET
