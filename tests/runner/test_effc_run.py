"""effc-run, built with sanitizers: right answers, and a message with the right exit code for all that is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm_models

from effc.bench.measure import BenchResult, Latency
from effc.core import host

Run = Callable[..., Any]
TOLERANCE = {"float32": 1e-6, "int32": 0}
"""Absolute, of values in 0..1; integers are exact."""


def compare(name: str, found: dict[str, bytes], given: dict[str, Any]) -> None:
    wanted = tvm_models.expected(name, given)
    for info in tvm_models.INTERFACES[name][1]:
        values = np.frombuffer(found[info.name], info.dtype).reshape(wanted[info.name].shape)
        assert np.abs(values - wanted[info.name]).max() <= TOLERANCE[info.dtype], info.name


def saved(folder: Path, given: dict[str, Any]) -> list[str]:
    """`--input` words for files that hold the feeds."""
    words = []
    for name, values in given.items():
        (folder / f"{name}.bin").write_bytes(values.tobytes())
        words += ["--input", str(folder / f"{name}.bin")]
    return words


@pytest.mark.parametrize("name,rows,threads", [("dense", 1, 1), ("dense", 5, 1), ("integer", 4, 1), ("integer", 4, 2)])
def test_files(effc_run: Run, libraries: Path, tmp_path: Path, *, name: str, rows: int, threads: int) -> None:
    """The number of rows is found from the size of the file."""
    threads = min(threads, len(host.cpus()))
    given = tvm_models.feeds(name, rows)
    outputs = {info.name: tmp_path / f"{info.name}.out" for info in tvm_models.INTERFACES[name][1]}
    words = [word for path in outputs.values() for word in ("--output", path)]
    done = effc_run(libraries / name, *saved(tmp_path, given), *words, "--threads", threads)
    assert done.returncode == 0, done.stderr
    compare(name, {key: path.read_bytes() for key, path in outputs.items()}, given)
    assert [line.split()[0] for line in done.stdout.decode().splitlines()] == list(outputs)


@pytest.mark.parametrize("name,rows", [("dense", 2), ("integer", 4)])
def test_stream(effc_run: Run, libraries: Path, name: str, rows: int) -> None:
    """stdin holds the inputs of one call after another, stdout the outputs likewise."""
    calls = [tvm_models.feeds(name, rows, seed) for seed in range(3)]
    sent = b"".join(values.tobytes() for given in calls for values in given.values())
    batch = ("--batch", rows) if name == "dense" else ()
    done = effc_run(libraries / name, "--input", "-", "--output", "-", *batch, sent=sent)
    assert done.returncode == 0, done.stderr
    rest = done.stdout
    for given in calls:
        found = {}
        for key, values in tvm_models.expected(name, given).items():
            size = values.size * 4
            found[key], rest = rest[:size], rest[size:]
        compare(name, found, given)
    assert not rest


def test_values_as_text(effc_run: Run, libraries: Path, tmp_path: Path) -> None:
    given = tvm_models.feeds("integer")
    done = effc_run(libraries / "integer", *saved(tmp_path, given))
    sums, share = done.stdout.decode().splitlines()
    wanted = tvm_models.expected("integer", given)
    assert sums == "sums int32 4x8: " + " ".join(f"{value:g}" for value in wanted["sums"].flat[:5]) + " .."
    assert np.allclose([float(word) for word in share.split()[3:8]], wanted["share"].flat[:5], atol=1e-5)


@pytest.mark.parametrize("name,batch", [("dense", 3), ("integer", 4)])
def test_bench_json(effc_run: Run, libraries: Path, name: str, batch: int) -> None:
    """The fields of `effc bench --json`, and no others."""
    done = effc_run(libraries / name, "--bench", "--iterations", 21, "--batch", batch, "--json")
    assert done.returncode == 0, done.stderr
    [result] = json.loads(done.stdout)["results"]
    assert set(result) < {field.name for field in fields(BenchResult)}
    ms = result["latency_ms"]
    assert set(ms) == {field.name for field in fields(Latency)}
    order = ("min", "p50", "p90", "p95", "p99", "max")
    assert sorted(ms[key] for key in order) == [ms[key] for key in order]
    assert 0 < ms["min"] <= ms["mean"] <= ms["max"]
    assert ms["std"] <= ms["max"] - ms["min"]
    assert (result["calls"], result["batch"], result["threads"]) == (21, batch, 1)
    assert result["throughput_per_s"] == pytest.approx(batch * 1e3 / ms["mean"], rel=1e-6)
    assert result["file_bytes"] == (libraries / name / "model.so").stat().st_size
    assert 1 < result["peak_rss_mb"] < 4000
    assert result["device"] == host.cpu_name()


def test_bench_as_text(effc_run: Run, libraries: Path) -> None:
    done = effc_run(libraries / "dense", "--bench", "--iterations", 3)
    assert "1 thread(s), batch 1, 3 calls" in done.stdout.decode()


def manifest(folder: Path, **changes: object) -> None:
    """Overwrite fields of a manifest."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def relisted(folder: Path, content: bytes) -> None:
    """Another library that the manifest takes for its own."""
    (folder / "model.so").write_bytes(content)
    entry = {"path": "model.so", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest(folder, files=[entry])


def cut(folder: Path, share: float) -> None:
    whole = (folder / "model.so").read_bytes()
    relisted(folder, whole[: int(len(whole) * share)])


def for_machine(folder: Path, number: int) -> None:
    """The library's ELF header names another machine."""
    content = bytearray((folder / "model.so").read_bytes())
    content[18:20] = number.to_bytes(2, "little")
    relisted(folder, bytes(content))


def shortened(folder: Path) -> None:
    content = (folder / "model.so").read_bytes()
    (folder / "model.so").write_bytes(content[:-1])


def flipped(folder: Path) -> None:
    content = bytearray((folder / "model.so").read_bytes())
    content[-100] ^= 1
    (folder / "model.so").write_bytes(bytes(content))


def first_input(folder: Path, **changes: object) -> None:
    [given] = json.loads((folder / "manifest.json").read_text())["inputs"]
    manifest(folder, inputs=[given | changes])


def text(folder: Path, content: str) -> None:
    (folder / "manifest.json").write_text(content)


SPOILED: list[tuple[str, Callable[[Path], object], str]] = [
    ("no manifest", lambda d: (d / "manifest.json").unlink(), "it is not an artifact"),
    ("no library", lambda d: (d / "model.so").unlink(), "the file is missing"),
    ("one byte short", shortened, "bytes, the manifest says"),
    ("one bit flipped", flipped, "contents are not those"),
    ("library cut in half", lambda d: cut(d, 0.5), "the library is cut short"),
    ("library cut to its header", lambda d: relisted(d, (d / "model.so").read_bytes()[:64]), "cut short"),
    ("library cut within its header", lambda d: relisted(d, (d / "model.so").read_bytes()[:20]), "cut short"),
    ("library empty", lambda d: relisted(d, b""), "no shared library"),
    ("library is text", lambda d: relisted(d, b"#!/bin/sh\n" * 50), "no shared library"),
    ("library for RISC-V", lambda d: for_machine(d, 243), "it is for ELF machine 243, this machine is"),
    ("library for SPARC", lambda d: for_machine(d, 2), "it is for ELF machine 2"),
    ("target for another machine", lambda d: manifest(d, target="tvm-armv7-fp32"), "it is for armv7"),
    ("target of another backend", lambda d: manifest(d, target="tflite-int8"), "its target is tflite-int8"),
    ("CPU too old", lambda d: manifest(d, toolchain={"cpu_requires": "warp_drive"}), "lacks: warp_drive"),
    ("sealed", lambda d: manifest(d, sealed=True), "sealed package"),
    ("main not listed", lambda d: manifest(d, files=[]), "lists no file that could run"),
    ("main outside", lambda d: manifest(d, main="../x.so"), "lists no file that could run"),
    (
        "file outside",
        lambda d: manifest(d, main="../x", files=[{"path": "../x", "sha256": "", "bytes": 0}]),
        "lies outside the artifact",
    ),
    ("schema 1", lambda d: manifest(d, schema=1), "its schema is 1"),
    ("dtype unknown", lambda d: first_input(d, dtype="float8"), "'float8' is unknown"),
    ("dim negative", lambda d: first_input(d, shape=[-1, 8]), "a dim of 'shape'"),
    ("dim fractional", lambda d: first_input(d, shape=[1.5, 8]), "a dim of 'shape'"),
    ("dim enormous", lambda d: first_input(d, shape=[2**62, 8]), "exceeds the memory"),
    ("name missing", lambda d: manifest(d, inputs=[{}]), "the field 'name' is missing"),
    ("inputs no list", lambda d: manifest(d, inputs={}), "the field 'inputs' should be a list"),
    ("input no object", lambda d: manifest(d, inputs=[3]), "an object with the field 'name'"),
    ("bytes no number", lambda d: manifest(d, files=[{"path": "a", "sha256": "", "bytes": "1"}]), "'bytes'"),
    ("root a list", lambda d: text(d, "[]"), "an object with the field 'schema'"),
    ("manifest empty", lambda d: text(d, ""), "no readable manifest.json"),
    ("manifest cut", lambda d: text(d, '{"schema": 2, "target": "tv'), "it is not JSON (byte 27)"),
    ("manifest deep", lambda d: text(d, "[" * 100_000), "it is not JSON"),
    ("trailing words", lambda d: text(d, "{} x"), "it is not JSON (byte 3)"),
    ("bad escape", lambda d: text(d, r'{"\q": 1}'), "it is not JSON"),
    ("lone surrogate", lambda d: text(d, r'{"\ud800": 1}'), "it is not JSON"),
    ("leading zero", lambda d: text(d, '{"schema": 02}'), "it is not JSON"),
    ("bare minus", lambda d: text(d, '{"schema": -}'), "it is not JSON"),
    ("control character", lambda d: text(d, '{"a\n": 1}'), "it is not JSON"),
]


@pytest.mark.parametrize("spoil,said", [row[1:] for row in SPOILED], ids=[row[0] for row in SPOILED])
def test_spoiled_artifact(effc_run: Run, dense: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(dense)
    done = effc_run(dense, "--bench", "--iterations", 1)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr.decode()
    assert not done.stdout


WRONG_WORDS = [
    ((), "no artifact is named"),
    (("{dense}",), "there is nothing to do"),
    (("{dense}", "--fast"), "--fast: there is no such option"),
    (("{dense}", "--bench", "--threads"), "--threads: a value should follow"),
    (("{dense}", "--bench", "--threads", "0"), "'0' is not a positive number"),
    (("{dense}", "--bench", "--threads", "two"), "'two' is not a positive number"),
    (("{dense}", "--bench", "--threads", "100000"), "this process may use"),
    (("{dense}", "--bench", "--iterations", "-3"), "'-3' is not a positive number"),
    (("{dense}", "--bench", "--iterations", "99999999999"), "is not a positive number"),
    (("{integer}", "--bench", "--batch", "2"), "input 'a' is always 4x32"),
    (("{dense}", "{integer}", "--bench"), "one artifact at a time"),
    (("{dense}/nowhere", "--bench"), "it is not an artifact"),
    (("{dense}", "--input", "{dense}/nothing.bin"), "it cannot be read"),
    (("{dense}", "--input", "{dense}"), "it cannot be read"),
    (("{integer}", "--input", "{dense}/manifest.json"), "1 file(s) are given, the artifact has 2 (a, scale)"),
    (("{dense}", "--input", "{dense}/model.so"), "bytes, and float32 1x8 takes 32"),
    (("{dense}", "--input", "{four}", "--batch", "3"), "has 128 bytes, and float32 3x8 takes 96"),
    (("{dense}", "--input", "{four}", "--output", "{dense}/no/where"), "it cannot be written"),
    (("{dense}", "--input", "{four}", "--output", "a", "--output", "b"), "2 file(s) are given, the artifact has 1 (y)"),
    (("{dense}", "--input", "-", "--bench"), "stands for all of them"),
    (("{dense}", "--input", "-"), "stdin ends after 7 bytes"),
]


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("words,said", WRONG_WORDS, ids=[" ".join(words) or "none" for words, _ in WRONG_WORDS])
def test_wrong_words(
    effc_run: Run, libraries: Path, tmp_path: Path, *, words: tuple[str, ...], said: str, as_json: bool
) -> None:
    four = tmp_path / "four.bin"
    four.write_bytes(bytes(128))
    places = {"dense": libraries / "dense", "integer": libraries / "integer", "four": four}
    as_json = as_json and "-" not in words
    given = ["--json"] * as_json + [word.format(**places) for word in words]
    done = effc_run(*given, sent=b"7 bytes")
    assert done.returncode == 2
    if as_json:
        error = json.loads(done.stdout)["error"]
        assert (error["kind"], error["exit_code"]) == ("bad input", 2)
        assert not done.stderr
    told = f"{error['where']}: {error['what']}" if as_json else done.stderr.decode()
    assert said in told


def test_runtime_refuses(effc_run: Run, dense: Path, tmp_path: Path) -> None:
    """What the manifest allows and the library does not is the backend's failure."""
    first_input(dense, shape=["N", 9])
    done = effc_run(dense, *saved(tmp_path, {"x": np.zeros((1, 9), np.float32)}))
    assert done.returncode == 6
    assert done.stderr.decode().startswith("error (backend failed): ")


@pytest.mark.parametrize("names,said", [((), "gives 1 outputs, the manifest names 0"), (("y", "z"), "names 2")])
def test_number_of_outputs(effc_run: Run, dense: Path, names: tuple[str, ...], said: str) -> None:
    manifest(dense, outputs=[{"name": name, "dtype": "float32", "shape": ["N", 4]} for name in names])
    done = effc_run(dense, "--bench", "--iterations", 1)
    assert (done.returncode, said in done.stderr.decode()) == (6, True)


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 2**20 - 1, 2**20, 2**20 + 57])
def test_sha256(effc_run: Run, dense: Path, size: int) -> None:
    """Sizes around the digest's blocks and the reader's; a wrong digest would be refused."""
    content = random.Random(size).randbytes(size)
    (dense / "extra").write_bytes(content)
    listed = json.loads((dense / "manifest.json").read_text())["files"]
    entry = {"path": "extra", "sha256": hashlib.sha256(content).hexdigest(), "bytes": size}
    manifest(dense, files=[*listed, entry])
    assert effc_run(dense, "--bench", "--iterations", 1).returncode == 0


def test_json_of_any_spelling(effc_run: Run, dense: Path, tmp_path: Path) -> None:
    """Escapes of every kind, unknown fields, exponents; the name comes out as it went in."""
    name = 'é"\\/\b\t😀\x01'
    manifest(dense, outputs=[{"name": name, "dtype": "float32", "shape": ["N", 4]}], more=[1e-3, None, True, {}])
    words = saved(tmp_path, tvm_models.feeds("dense"))
    for ascii_only in (True, False):
        raw = json.loads((dense / "manifest.json").read_text())
        (dense / "manifest.json").write_text(json.dumps(raw, ensure_ascii=ascii_only), encoding="utf-8")
        done = effc_run(dense, *words, "--json")
        assert json.loads(done.stdout)["outputs"] == [{"name": name, "dtype": "float32", "shape": [3, 4]}]


@pytest.mark.parametrize("seed", range(24))
def test_damaged_manifest_never_crashes(effc_run: Run, dense: Path, seed: int) -> None:
    """Bytes changed, dropped or doubled at random: it runs, or it says what is wrong."""
    draw, path = random.Random(seed), dense / "manifest.json"
    content = bytearray(path.read_bytes())
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(content))
        end = at + draw.choice((1, 1, 20))
        content[at:end] = draw.choice((b"", b'"', b"9" * 30, b"\xff", b"[", b"-", bytes(content[at:end]) * 2))
    path.write_bytes(bytes(content))
    done = effc_run(dense, "--bench", "--iterations", 1)
    assert done.returncode in (0, 2, 6), done.stderr
    assert (done.returncode == 0) == (not done.stderr)


def test_help(effc_run: Run) -> None:
    done = effc_run("--help")
    assert done.returncode == 0
    assert done.stdout.startswith(b"usage: effc-run ARTIFACT")


def test_is_built_with_sanitizers(checked: Any, sanitizers: str) -> None:
    """Else the tests above would prove less than they say."""
    program = checked.runner.read_bytes()
    assert all(f"__{name[:1] if name == 'address' else 'ub'}san".encode() in program for name in sanitizers.split(","))
    assert os.access(checked.runner, os.X_OK)
