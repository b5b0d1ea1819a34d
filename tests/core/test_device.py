"""The GPU of this machine, by its driver or by a stand-in for it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from effc.core import device
from effc.core.device import Gpu, Machine

STAND_IN = """
// A stand-in for NVIDIA's driver, to be asked what `device.probe` asks.
int cuInit(unsigned flags) { return INIT; }
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = 7; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    const char *text = "Stand-in"; int i = 0;
    if (device != 7) return 101;
    do name[i] = text[i]; while (text[i++]);
    return 0;
}
int cuDeviceTotalMem_v2(unsigned long *bytes, int device) { *bytes = 80ul << 30; return TOTAL; }
int cuDeviceGetAttribute(int *value, int key, int device) {
    *value = key == 75 ? 8 : key == 76 ? 9 : -1;
    return 0;
}
"""
FINE = {"INIT": 0, "VERSION": 13020, "COUNT": 1, "TOTAL": 0}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Machine:
    """What is found with a compiled stand-in for the driver on the loader's path."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    source = tmp_path / "driver.c"
    source.write_text(STAND_IN)
    macros = [f"-D{name}={value}" for name, value in (FINE | request.param).items()]
    subprocess.run(["cc", "-shared", "-fPIC", *macros, str(source), "-o", str(tmp_path / device.DRIVER)], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    device.here.cache_clear()
    found = device.here()
    device.here.cache_clear()
    return found


@pytest.mark.parametrize("here", [{}, {"VERSION": 99000}], indirect=True)
def test_the_driver_is_asked(here: Machine) -> None:
    assert here.gpu == Gpu("Stand-in", (8, 9), 80 * 1024)
    assert here.reason == ""


@pytest.mark.parametrize(
    ("here", "reason"),
    [
        ({"INIT": 100}, "the CUDA driver sees no GPU"),
        ({"COUNT": 0}, "the CUDA driver sees no GPU"),
        ({"INIT": 803}, "the CUDA driver does not start (error 803)"),
        ({"TOTAL": 999}, "the CUDA driver failed: cuDeviceTotalMem_v2 gives error 999"),
    ],
    indirect=["here"],
)
def test_a_driver_that_does_not_serve(here: Machine, reason: str) -> None:
    assert here.reason == reason


@pytest.mark.parametrize(
    ("driver", "runtime", "old"),
    [((13, 0), "13.4.4", False), ((12, 8), "13.4.4", True), ((13, 0), "12.9.1", False), ((12, 4), "", False)],
)
def test_a_driver_serves_runtimes_of_its_major_version(driver: tuple[int, int], runtime: str, old: bool) -> None:
    assert bool(device._outdated(driver, runtime)) == old


def test_a_hidden_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert device._blind() == "the CUDA driver sees no GPU (CUDA_VISIBLE_DEVICES is '-1')"


def test_this_machine_is_found_once_and_is_of_one_mind() -> None:
    device.here.cache_clear()
    assert (device.no_gpu() is None) == (device.here().gpu is not None and not device.here().reason)
    assert device.here.cache_info().misses == 1
    assert bool(device.toolchain()) == (device.here().gpu is not None)
