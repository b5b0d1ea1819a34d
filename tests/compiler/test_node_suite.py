"""ONNX's own node tests, all of them: what each model computes is kept by the frontend and the simplifier.

`node_exceptions.txt` names those that need not, with the reason; a test of it that passes must be struck out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from effc.bench.nodetests import Kind, Outcome, cases, judged
from effc.compiler import ir, upgrade

EXCEPTIONS = Path(__file__).with_name("node_exceptions.txt")
BUILT_EXCEPTIONS = Path(__file__).with_name("node_exceptions_built.txt")
SHARDS = 12
BUILT_EVERY = 4
"""Of the models as builds start with them, at the internal opset, one in so many: every op still has some."""


@cache
def exceptions(path: Path) -> dict[str, str]:
    rows = [line.split(": ", 1) for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {name: reason for name, reason in rows}


def hashed(name: str) -> int:
    return zlib.crc32(name.encode())


def check(outcomes: Iterable[Outcome], known: Path) -> None:
    found = list(outcomes)
    wrong = {o.name: f"{o.kind.value}: {o.reason}" for o in found if o.kind is not Kind.EQUAL}
    expected = exceptions(known).keys() & {outcome.name for outcome in found}
    strange = wrong.keys() ^ expected
    assert not strange, {name: wrong.get(name, "passes now: strike it out") for name in strange}


def newer(outcome: Outcome) -> bool:
    """Whether it was refused for an opset above the one that builds work at."""
    opset = upgrade.default_opset(cases()[outcome.name].model)
    return outcome.kind is Kind.REFUSED and opset > ir.INTERNAL_OPSET


@pytest.mark.parametrize("shard", range(SHARDS))
def test_simplified(shard: int) -> None:
    check(judged(name for name in cases() if hashed(name) % SHARDS == shard), EXCEPTIONS)


def test_built() -> None:
    chosen = [name for name in cases() if hashed(name) % BUILT_EVERY == 0 or name in exceptions(BUILT_EXCEPTIONS)]
    check((o for o in judged(chosen, built=True) if not newer(o)), BUILT_EXCEPTIONS)


def test_the_lists_are_short() -> None:
    assert len(cases()) >= 1884
    assert all(name in cases() for path in (EXCEPTIONS, BUILT_EXCEPTIONS) for name in exceptions(path))
    assert len(exceptions(EXCEPTIONS)) <= 6
