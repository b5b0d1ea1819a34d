"""Reports as JSON, and progress that keeps its seconds."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from effc.core.encode import plain, to_json
from effc.core.progress import Progress
from effc.core.target import Target


@dataclass(frozen=True)
class Inner:
    value: float


@dataclass(frozen=True)
class Outer:
    name: str
    inners: tuple[Inner, ...]


VALUES = [
    (None, None),
    (True, True),
    (3, 3),
    (2.5, 2.5),
    (math.inf, None),
    (math.nan, None),
    (Path("a/b"), "a/b"),
    (Target("ort", "int8"), "ort-int8"),
    ({"k": (1, 2)}, {"k": [1, 2]}),
    (Outer("o", (Inner(1.0), Inner(-math.inf))), {"name": "o", "inners": [{"value": 1.0}, {"value": None}]}),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=lambda value: str(value)[:30])
def test_plain(value: object, expected: object) -> None:
    assert plain(value) == expected
    assert json.loads(to_json(value)) == expected


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(TypeError):
        plain({1j})


def test_stages_add_up_and_survive_errors() -> None:
    progress = Progress()
    with pytest.raises(ValueError), progress.stage("outer"):
        with progress.stage("inner"):
            pass
        first = progress.seconds["inner"]
        with progress.stage("inner"):
            pass
        raise ValueError
    assert list(progress.seconds) == ["inner", "outer"]
    assert progress.seconds["inner"] > first
    assert progress.seconds["outer"] >= progress.seconds["inner"]
