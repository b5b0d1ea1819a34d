"""What an engine file consists of, so that its size is explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from effc.backends.tensorrt.explain.contents import Contents

FILES = [
    (b"", (0, 0, 0)),
    (bytes(range(128, 256)) * 8, (1024, 0, 0)),
    (b"\xff" + b"kernel " * 100 + b"\xfe", (702, 700, 0)),
    (b"\xff" + bytes(5000) + b"\xff", (5002, 0, 5000)),
    (b"name\0" * 200, (1000, 0, 0)),
    (b"\x80" * 3 + b"a" * 256 + b"\x80" + b"b" * 255 + bytes(256), (771, 256, 256)),
]


@pytest.mark.parametrize(("data", "expected"), FILES, ids=range(len(FILES)))
def test_runs_are_counted(tmp_path: Path, data: bytes, expected: tuple[int, int, int]) -> None:
    (tmp_path / "model.engine").write_bytes(data)
    assert Contents.of(tmp_path / "model.engine") == Contents(*expected)


def test_only_what_is_large_is_explained() -> None:
    assert Contents(1_400_000, 0, 0).sentence(1_000_000) == ""
    said = Contents(18_600_000, 7_300_000, 7_400_000).sentence(3_600_000)
    assert all(figure in said for figure in ("18.6 MB", "3.6 MB", "7.3 MB", "7.4 MB"))
