"""`reference.npz`: there and back, equal bytes, damage named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from effc.bench import reference
from effc.bench.reference import Reference
from effc.core.errors import BadInput

HELD = Reference(
    {"images/in:0": np.arange(6, dtype=np.float32).reshape(2, 3), "ids": np.asarray([[1], [2]], np.int64)},
    {"y": np.asarray([[1.5], [np.inf]], np.float32)},
)


def test_round_trip(tmp_path: Path) -> None:
    reference.write(tmp_path / "r.npz", HELD)
    found = reference.read(tmp_path / "r.npz")
    for before, after in ((HELD.feeds, found.feeds), (HELD.outputs, found.outputs)):
        assert list(before) == list(after)
        for name, array in before.items():
            np.testing.assert_array_equal(array, after[name])
            assert array.dtype == after[name].dtype


def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        reference.write(tmp_path / name, HELD)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", None])
def test_damage(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "r.npz").write_bytes(content)
    with pytest.raises(BadInput, match=r"r\.npz"):
        reference.read(tmp_path / "r.npz")


def test_no_inputs(tmp_path: Path) -> None:
    reference.write(tmp_path / "r.npz", Reference({}, HELD.outputs))
    with pytest.raises(BadInput, match="no inputs"):
        reference.read(tmp_path / "r.npz")
