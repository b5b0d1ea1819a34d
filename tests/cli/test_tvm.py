"""TVM's targets through the command line: built, verified, run, timed, explained, checked, listed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import support
from cli_support import Built, Command, Fill, contents

from effc.cli.main import main

TARGETS = ("tvm-x86-fp32", "tvm-x86-int8")


@pytest.fixture(scope="module")
def libraries(cache: Path, mnist: support.Classifier, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """mnist_minimobile for this machine, in float and in int8."""
    del cache
    empty = Built(tmp_path_factory.mktemp("tvm") / "out", -1, mnist)
    words = [str(word) for word in empty.words("--target", ",".join(TARGETS), "--samples", 64)]
    return Built(empty.folder, main(words), mnist)


@pytest.mark.parametrize(("target", "least"), zip(TARGETS, (90.0, 15.0), strict=True))
def test_built_and_verified(libraries: Built, effc: Command, target: str, least: float) -> None:
    assert libraries.code == 0
    words = ("--data", libraries.model.evaluation, "--model", libraries.model.model, "--json")
    told = effc("verify", libraries.folder / target, *words).json["verification"]
    (output,) = told["outputs"]
    assert output["sqnr_db"] >= least
    assert told["host"] == "native"
    assert told["top1"]["artifact"] >= told["top1"]["float"] - 0.01


@pytest.mark.parametrize("target", TARGETS)
def test_timed(libraries: Built, effc: Command, target: str) -> None:
    told = effc("bench", libraries.folder / target, "--min-time", 0.05, "--rounds", 2, "--json").json
    (row,) = told["results"]
    assert row["target"] == target and row["latency_ms"]["p50"] > 0 and row["peak_rss_mb"] < 200


@pytest.mark.parametrize("target", TARGETS)
def test_explained(libraries: Built, effc: Command, target: str) -> None:
    told = effc("explain", libraries.folder / target, "--json").json["explanation"]
    kernels = [layer for layer in told["layers"] if layer["op"] == "Conv"]
    assert kernels and {layer["precision"] for layer in kernels} == {"int8" if "int8" in target else "float32"}
    assert not [layer for layer in told["layers"] if layer["note"]]


def test_run(libraries: Built, effc: Command, tmp_path: Path) -> None:
    images, _ = libraries.model.load()
    np.savez(tmp_path / "in.npz", input=images[:3])
    assert (
        effc("run", libraries.folder / TARGETS[0], "--input", tmp_path / "in.npz", "-o", tmp_path / "y.npz").code == 0
    )
    assert np.load(tmp_path / "y.npz")["logits"].shape == (3, 10)


def test_two_builds_give_the_same_bytes(libraries: Built, effc: Command, tmp_path: Path) -> None:
    words = list(libraries.words("--target", TARGETS[1], "--samples", 64))
    words[words.index("-o") + 1] = tmp_path
    assert effc(*words).code == 0
    first, second = contents(libraries.folder / TARGETS[1]), contents(tmp_path / TARGETS[1])
    assert first == second


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("check {model} --target tvm-x86-fp32,tvm-arm64-int8:cortex-a76", 0, "100"),
        ("check {odd} --target tvm-x86-fp32", 3, "my.domain"),
        ("build {model} --target tvm-x86-fp32:z80 -o {tmp}/o", 2, "knows no z80"),
        ("build {model} --target tvm-mips-fp32 -o {tmp}/o", 2, "no backend builds"),
        ("targets", 0, "tvm-arm64-int8"),
        ("doctor", 0, "apache-tvm"),
    ],
)
def test_told(effc: Command, fill: Fill, words: str, code: int, said: str) -> None:
    ran = effc(*fill(words))
    assert ran.code == code and said in ran.out + ran.err
