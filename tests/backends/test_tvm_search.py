"""The search for tiles: what it measures is the kernel itself, what it learns is kept, and damage is told."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx.parser
import pytest
from tvm import rpc

from effc.backends.tvm import cpu as cpus
from effc.backends.tvm import module
from effc.backends.tvm.search import choices, tune
from effc.backends.tvm.search.choices import Database, read
from effc.backends.tvm.search.device import local, remote
from effc.compiler import ir
from effc.core.errors import BackendFailed, BadInput
from effc.core.options import Tracker, Tuning

WEIGHTS = ", ".join(str((i * 7 % 11 - 5) / 10) for i in range(32 * 16 * 9))
MODEL = """
<ir_version: 10, opset_import: ["" : 21]>
tuned (float[N, 16, 9, 11] x) => (float[N, 32, 9, 11] y)
<float[32, 16, 3, 3] w = {WEIGHTS}>
{ y = Conv <pads = [1, 1, 1, 1]> (x, w) }
""".replace("WEIGHTS", WEIGHTS)


def model() -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(MODEL))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's measurements go."""
    monkeypatch.setenv("EFFC_CACHE", str(tmp_path))
    return tmp_path / "tvm" / f"{cpus.host().name}.json"


def test_a_search_measures_each_workload_once_and_resumes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = cpus.host()
    monkeypatch.setattr(choices, "SHIPPED", place.parent / "none")
    module.write(model(), cpu, tune.lowering(cpu, "x86_64", Tuning(60.0)))
    [(workload, tile)] = read(place).items()
    assert workload.startswith("conv float32") and tile.startswith("Tile(")
    again = tune.lowering(cpu, "x86_64", Tuning(60.0)).__self__  # type: ignore[attr-defined]
    monkeypatch.setattr(again, "measure", lambda kernels: pytest.fail("measured twice"))
    module.write(model(), cpu, again.lower)


def test_without_budget_the_ranking_decides(place: Path) -> None:
    cpu = cpus.host()
    module.write(model(), cpu, tune.lowering(cpu, "x86_64", Tuning(0.0)))
    assert not place.exists()


def test_a_known_tile_is_taken_and_an_unknown_one_is_not() -> None:
    known = Database({"a": "2", "b": "9"}, Path("unused"), {"b": "3"})
    assert known.choose("a", [1, 2, 3]) == 2
    assert known.choose("b", [1, 2, 3]) == 3
    assert replace(known, own={}).choose("b", [1, 2, 3]) == 1
    assert known.choose("c", [1, 2, 3]) == 1


def test_a_database_keeps_its_rows(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "cpu.json"
    kept = Database({}, place)
    kept.learn("w", "Tile(columns=7, blocks=2)")
    kept.learn("v", "Tile(columns=1, blocks=8)")
    assert read(place) == {"w": "Tile(columns=7, blocks=2)", "v": "Tile(columns=1, blocks=8)"}
    place.write_text(json.dumps({"schema": 0, "best": {"w": "x"}}))
    assert read(place) == {}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": 1}', '{"schema": 1, "best": [1]}', '"x"'])
def test_a_damaged_database_is_told(tmp_path: Path, text: str) -> None:
    place = tmp_path / "cpu.json"
    place.write_text(text)
    with pytest.raises(BadInput, match="tuning database") as raised:
        read(place)
    assert raised.value.where == str(place) and raised.value.hint


def test_shipped_databases_can_be_read() -> None:
    for path in choices.SHIPPED.glob("*.json"):
        assert read(path), path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(tracker: Tracker) -> None:
    """Until the tracker lends the device; both have just been started."""
    for _ in range(60):
        try:
            if rpc.connect_tracker(tracker.host, tracker.port).summary()["queue_info"].get(tracker.key, {}).get("free"):
                return
        except (RuntimeError, OSError):
            pass
        time.sleep(0.3)
    pytest.fail("no device came up")


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    """A tracker on loopback with one device, which is this machine."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    serve = [sys.executable, "-m", "tvm.exec.rpc_server", "--host=127.0.0.1", f"--tracker={address}", "--key=own"]
    with (
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tvm.exec.rpc_tracker",
                "--host=127.0.0.1",
                f"--port={port}",
                f"--port-end={port + 1}",
            ]
        ) as one,
        subprocess.Popen(serve) as other,
    ):
        found = Tracker("127.0.0.1", port, "own")
        wait_for(found)
        yield found
        other.terminate()
        one.terminate()


def test_candidates_are_measured_on_a_device_of_a_tracker(place: Path, tracker: Tracker) -> None:
    cpu = cpus.host()
    module.write(model(), cpu, tune.lowering(cpu, "x86_64", Tuning(60.0, tracker)))
    assert len(read(place)) == 1


def test_a_tracker_that_is_not_there_is_told() -> None:
    with (
        pytest.raises(BackendFailed, match="lends no device"),
        remote(Tracker("127.0.0.1", free_port(), "k"), "x86_64", None),
    ):
        pass


def test_measured_seconds_are_those_of_the_kernels(place: Path) -> None:
    """Twice the work takes longer, whatever the machine does meanwhile: the ratio is about 16."""
    cpu = cpus.host()
    kernels = []

    def record(family: object, group: object, site: object) -> object:
        kernels.append(family.lower(group, site))  # type: ignore[attr-defined]
        return kernels[-1]

    for sides in ("9, 11", "36, 44"):
        module.write(ir.from_proto(onnx.parser.parse_model(MODEL.replace("9, 11", sides))), cpu, record)  # type: ignore[arg-type]
    tuner = tune.Tuner(cpu, Database({}, place), local, 60.0)
    small, large = tuner.measure(kernels)
    assert small * 4 < large
