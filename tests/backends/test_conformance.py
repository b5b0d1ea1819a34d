"""ONNX's node tests that each target passes, from its list in `conformance/`: lists only grow."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import conformance
import pytest

from effc.core.target import Target

SHARDS = 12
"""Each test runs a twelfth of a list in one child: a child for each case would take all the time."""


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("target", sorted(path.stem for path in conformance.LISTS.glob("*.txt")))
def test_listed_cases_pass(target: str, shard: int, tmp_path: Path) -> None:
    names = [name for name in conformance.listed(target) if zlib.crc32(name.encode()) % SHARDS == shard]
    failures = {name: text for name, text in outcomes(target, names, tmp_path) if text}
    assert names and not failures


def outcomes(target: str, names: list[str], folder: Path) -> Iterator[tuple[str, str]]:
    """Each case's name with what went wrong, empty where nothing did."""
    bench = conformance.Bench()
    for name in names:
        place = folder / name
        place.mkdir()
        case = conformance.cases()[name]
        try:
            conformance.compare(case, bench.run(case, Target.parse(target), place))
            yield name, ""
        except (Exception, AssertionError) as error:
            yield name, f"{type(error).__name__}: {error}"
    bench.close()


def test_a_wrong_result_fails(tmp_path: Path) -> None:
    case = conformance.cases()["test_add"]
    outputs = conformance.Bench().run(case, Target.parse("tflite-fp32"), tmp_path)
    with pytest.raises(AssertionError):
        conformance.compare(case, {name: array + 0.01 for name, array in outputs.items()})
