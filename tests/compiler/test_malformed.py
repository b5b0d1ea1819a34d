"""Damaged files are refused as bad input or load: nothing else, whatever is wrong with them.

EFFC_MALFORMED=all tries every file as a command, which takes minutes.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import malformed
import numpy as np
import pytest

from effc.compiler import frontend, ir, pipeline
from effc.compiler.apart import Apart
from effc.core.errors import BadInput

HEADER = 4000
"""Damage near the end of such a file falls into weights mostly; the graph lies around its ends."""
MEMORY = 2 << 30
CPU_S = 10
HANG_S = 120.0
ALL = list(malformed.everything())
ALL_NAMES = [f"{bad.kind} {bad.name}" for bad in ALL]

RUN_TO_KNOW = {"of an unknown one"}
"""An op of an unknown domain may exist elsewhere: only a run shows that it does not."""
WHOLE = (
    "cut 3", "flipped 5", "foreign zip", "nested subgraphs", "tensors a million dims", "external device",
    "external a pipe", "functions doubled 40 times", "names long op", "bodies cycle inside", "bombs doubled 40 times",
    "bombs Resize of a constant",
)  # fmt: skip


@pytest.fixture(scope="module")
def child() -> Iterator[Apart]:
    """One child for all files: one that a file takes down is started again."""
    with Apart() as libraries:
        yield libraries


def test_there_are_many_of_each_kind() -> None:
    assert len(ALL) >= 200
    assert len({(bad.kind, bad.name) for bad in ALL}) == len(ALL)


@pytest.mark.parametrize("bad", [b for b in ALL if b.kind != "bombs"], ids=lambda b: f"{b.kind} {b.name}")
def test_malformed_file(bad: malformed.Bad, child: Apart, tmp_path: Path) -> None:
    path = bad.make(tmp_path)
    with pytest.raises(BadInput) as caught:
        frontend.load(path, child=child)
        if bad.name in RUN_TO_KNOW:
            pipeline.prepare(path, goal=pipeline.Goal())
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 5000


def _limited() -> None:
    """Limits of the command and of each of its children."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))


@pytest.mark.parametrize("name", ALL_NAMES if os.environ.get("EFFC_MALFORMED") == "all" else WHOLE)
def test_as_a_command(name: str, tmp_path: Path, record_property: pytest.RecordProperty) -> None:
    """Exit code 2 with an error in a few lines and no output, within 2 GiB of addresses and 10 s of CPU time."""
    bad = ALL[ALL_NAMES.index(name)]
    path, out = bad.make(tmp_path), tmp_path / "out.onnx"
    start = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-m", "effc.cli.main", "simplify", str(path), str(out)],
        check=False,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        preexec_fn=_limited,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    record_property("seconds", time.perf_counter() - start)
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.startswith("error (bad input): ")
    assert "Traceback" not in ran.stderr
    assert not out.exists()


def damaged(kind: str, seed: int) -> bytes:
    random = np.random.default_rng(seed)
    data = bytearray(malformed.SOUND)
    places = random.integers(0, len(data), 400) if kind == "anywhere" else random.integers(0, HEADER, 1 + seed % 4)
    if kind == "end":
        places = len(data) - 1 - places
    for place in places:
        data[place] ^= 1 << int(random.integers(0, 8))
    return bytes(data)


CASES = [(kind, seed) for kind in ("anywhere", "start", "end") for seed in range(15)]


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_flipped_bits(kind: str, seed: int, child: Apart, tmp_path: Path) -> None:
    """Where they hit a weight or a name the file may still be a model."""
    path = tmp_path / "damaged.onnx"
    path.write_bytes(damaged(kind, seed))
    try:
        model = frontend.load(path, child=child).model
    except BadInput as error:
        assert "damaged.onnx" in str(error)
    else:
        assert model.opset_imports[""] == ir.INTERNAL_OPSET
