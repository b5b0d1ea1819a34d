"""ONNX's node tests that a target passes, many of them as one model: lists only grow."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import conformance
import merged
import pytest

from effc.core.target import Target
from effc.core.worker import Worker

SHARDS = 8


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """One child for all."""
    with Worker("conformance", deadline=400) as started:
        yield started


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("target", sorted(path.stem for path in merged.LISTS.glob("*.txt")))
def test_listed_cases_pass(target: str, shard: int, worker: Worker, tmp_path: Path) -> None:
    names = [name for name in merged.listed(target) if zlib.crc32(name.encode()) % SHARDS == shard]
    cases = [conformance.cases()[name] for name in names]
    found = merged.outputs(cases, Target.parse(target), tmp_path, worker)
    assert cases and not {case.name: text for case in cases if (text := merged.wrong(case, found))}
