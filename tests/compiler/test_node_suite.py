"""ONNX's own node tests: each model goes through the frontend's conversion and all phases with its outputs kept.

`node_exceptions.txt` names those that need not, with the reason; a test of it that passes must be struck out.
"""

from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.backend.test.case.node import collect_testcases

from effc.compiler import frontend, ir, oracle, phase, upgrade
from effc.compiler.metrics import sqnr_db
from effc.compiler.passes import SIMPLIFY
from effc.core.errors import BadInput, EffcError

EXCEPTIONS = Path(__file__).with_name("node_exceptions.txt")
SHARDS = 24
EVERY = 3
"""Of the node tests that hold no sequences, one in three: every op still has some."""


@cache
def cases() -> dict[str, Any]:
    """Node tests on tensors, at the default domain, chosen by a hash of the name."""
    found = {case.name.removeprefix("test_"): case for case in collect_testcases(None)}
    return {
        name: case for name, case in sorted(found.items()) if zlib.crc32(name.encode()) % EVERY == 0 and plain(case)
    }


def plain(case: Any) -> bool:
    graph = case.model.graph
    tensors = all(v.type.HasField("tensor_type") for v in (*graph.input, *graph.output))
    return tensors and all(node.domain in ("", "ai.onnx") for node in graph.node)


@cache
def exceptions() -> dict[str, str]:
    rows = [line.split(": ", 1) for line in EXCEPTIONS.read_text().splitlines() if line and not line.startswith("#")]
    return {name: reason for name, reason in rows}


def outcome(case: Any) -> str | None:
    """What is wrong after simplification; None when outputs are equal.

    "skip" where the runtimes cannot run the original, or it needs an opset beyond the internal one.
    """
    inputs, _ = case.data_sets[0]
    names = [v.name for v in case.model.graph.input]
    feeds = {name: np.asarray(array) for name, array in zip(names, inputs, strict=True) if array is not None}
    try:
        before = oracle.Session(case.model).run(feeds)
    except EffcError:
        return "skip"
    try:
        after = oracle.Session(simplified(case.model)).run(feeds)
    except BadInput:
        return "skip" if upgrade.default_opset(case.model) > ir.INTERNAL_OPSET else "cannot be loaded"
    except EffcError as error:
        return str(error)
    return next((f"{name} differs" for name, array in before.items() if not agree(array, after[name])), None)


def simplified(proto: onnx.ModelProto) -> ir.Model:
    """As `frontend.load` does it, but in this process: a child for each test would take its time."""
    model = ir.from_bytes(upgrade.upgrade(proto.SerializeToString(), ir.INTERNAL_OPSET))
    frontend.settle(model, where="test")
    phase.run(model, SIMPLIFY)
    return model


def agree(a: Any, b: Any) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return (
        bool(sqnr_db(a, b) > (90 if a.dtype.itemsize > 2 else 40))
        if a.dtype.kind in "fV" and a.size
        else bool(np.array_equal(a, b))
    )


@pytest.mark.parametrize("shard", range(SHARDS))
def test_node_tests(shard: int) -> None:
    chosen = [name for index, name in enumerate(cases()) if index % SHARDS == shard]
    wrong = {name: text for name in chosen if (text := outcome(cases()[name])) not in (None, "skip")}
    known = exceptions().keys() & set(chosen)
    assert wrong.keys() == known, {name: wrong.get(name, "passes now: strike it out") for name in wrong.keys() ^ known}


def test_most_can_be_judged() -> None:
    assert len(cases()) > 400
    assert len(exceptions()) <= 40
