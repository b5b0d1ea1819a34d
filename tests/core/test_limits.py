"""Limits on memory hold while they are set, and no longer."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from effc.core.limits import ADDRESSES, DATA, limited

ROOM = 64 << 20


@pytest.mark.parametrize(("kind", "line"), [(ADDRESSES, "VmSize"), (DATA, "VmData")])
def test_what_goes_beyond_fails(kind: int, line: str) -> None:
    status = Path("/proc/self/status").read_text().splitlines()
    held = next(int(each.split()[1]) << 10 for each in status if each.startswith(line))
    before = resource.getrlimit(kind)
    with limited(held + ROOM, kind), pytest.raises(MemoryError):
        bytearray(4 * ROOM)
    assert resource.getrlimit(kind) == before
    assert len(bytearray(4 * ROOM)) == 4 * ROOM


def test_a_narrower_limit_stays() -> None:
    with limited(1 << 40), limited(1 << 50):
        assert resource.getrlimit(ADDRESSES)[0] <= 1 << 40
