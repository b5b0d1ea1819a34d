"""The machine's GPU, by the driver or a stand-in for it, and engines held against machines."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from gpu_doubles import manifest

from effc.backends.tensorrt import machine
from effc.backends.tensorrt.machine import Gpu, Machine
from effc.core.errors import BadInput
from effc.core.options import EngineOptions

T4, A100, L4, RTX4090 = (
    Gpu("Tesla T4", (7, 5)),
    Gpu("NVIDIA A100", (8, 0)),
    Gpu("NVIDIA L4", (8, 9)),
    Gpu("NVIDIA GeForce RTX 4090", (8, 9)),
)
H100, ORIN, BLACKWELL, LATER = Gpu("H100", (9, 0)), Gpu("Orin", (8, 7)), Gpu("B", (12, 1)), Gpu("C", (13, 0))
TOLD = {"tensorrt": "10.13.0.35", "tensorrt_rtx": "1.7.1.116"}
LASTING, AMPERE = EngineOptions(version_compatible=True), EngineOptions(hardware="ampere+")
SAME = EngineOptions(hardware="same-capability")
PLAIN, TWO = EngineOptions(), EngineOptions(capabilities=("sm80", "sm89"))


def built(gpu: Gpu | None, **more: str) -> dict[str, str]:
    return TOLD | ({} if gpu is None else {"gpu": gpu.name, "compute_capability": gpu.sm}) | more


FITS = [
    ("trt-fp16", built(L4), PLAIN, L4, "10.13.0.35"),
    ("trt-fp16", built(L4), PLAIN, RTX4090, "10.13.0.35"),
    ("trt-fp16", built(L4), SAME, RTX4090, "10.13.0.35"),
    ("trt-fp16", built(A100), AMPERE, H100, "10.13.0.35"),
    ("trt-fp16", built(L4), LASTING, L4, "10.14.1.48"),
    ("trt-fp16", built(L4), LASTING, L4, "11.4.0.106"),
    ("trt-fp16", {}, PLAIN, L4, "11.4.0.106"),
    ("trt-fp16", built(L4), PLAIN, None, "10.13.0.35"),
    ("rtx-int8:sm89", built(None), PLAIN, RTX4090, "1.7.1.116"),
    ("rtx-int8", built(None), PLAIN, T4, "1.7.1.116"),
    ("rtx-int8:sm120", built(None), PLAIN, BLACKWELL, "1.7.1.116"),
    ("rtx-int8", built(None), PLAIN, LATER, "1.7.1.116"),
]
REFUSED = [
    ("trt-fp16", built(L4), PLAIN, T4, "10.13.0.35", "built on NVIDIA L4 (sm89), and this machine has Tesla T4 (sm75)"),
    ("trt-fp16", built(A100), SAME, L4, "10.13.0.35", "built on NVIDIA A100 (sm80"),
    ("trt-fp16", built(A100), AMPERE, T4, "10.13.0.35", "for Ampere and newer"),
    ("trt-fp16", built(L4), PLAIN, L4, "10.14.1.48", "by TensorRT 10.13.0.35, and this machine has 10.14.1.48"),
    ("trt-fp16", built(L4), LASTING, L4, "10.9.0.34", "by TensorRT 10.13.0.35, and this machine has 10.9.0.34"),
    ("rtx-int8:sm89", built(None), PLAIN, RTX4090, "1.8.0.1", "by TensorRT-RTX 1.7.1.116, and this machine has 1.8"),
    ("rtx-int8:sm89", built(None), PLAIN, A100, "1.7.1.116", "for sm89, and this machine has NVIDIA A100 (sm80)"),
    ("rtx-int8", built(None), TWO, T4, "1.7.1.116", "for sm80, sm89, and this machine has Tesla T4 (sm75)"),
    ("rtx-int8", built(None), PLAIN, H100, "1.7.1.116", "no sm90 among its targets, and this machine has H100 (sm90)"),
    ("rtx-int8", built(None), PLAIN, ORIN, "1.7.1.116", "no sm87 among its targets"),
    ("rtx-int8:sm89", built(None), PLAIN, BLACKWELL, "1.7.1.116", "for sm89, and this machine has B (sm121)"),
]


Case = tuple[str, dict[str, str], EngineOptions, Gpu | None, str]


def check(case: Case) -> None:
    target, toolchain, engine, gpu, installed = case
    machine.check(manifest(target, toolchain=toolchain, engine=engine), Machine(gpu), installed, "out/engine")


@pytest.mark.parametrize("case", FITS)
def test_engines_that_suit(case: Case) -> None:
    check(case)


@pytest.mark.parametrize(("case", "text"), [(row[:-1], row[-1]) for row in REFUSED])
def test_engines_that_do_not(case: Case, text: str) -> None:
    with pytest.raises(BadInput) as caught:
        check(case)
    assert text in caught.value.what
    assert caught.value.where == "out/engine"
    assert "effc build" in caught.value.hint or "--target trt-int8" in caught.value.hint


def test_the_hint_adds_this_gpu() -> None:
    with pytest.raises(BadInput) as caught:
        machine.check(manifest("rtx-int8:sm89+sm120", toolchain=TOLD), Machine(T4), "1.7.1.116")
    assert "--target rtx-int8:sm89+sm120+sm75" in caught.value.hint


@pytest.mark.parametrize(("gpu", "text"), [(L4, ""), (RTX4090, "chosen on NVIDIA L4"), (None, "")])
def test_a_remark_on_another_model_of_gpu(gpu: Gpu | None, text: str) -> None:
    found = machine.remark(manifest(toolchain=built(L4)), Machine(gpu))
    assert text in found
    assert bool(found) == bool(text)


STAND_IN = """
// A stand-in for NVIDIA's driver, to be asked what `machine.probe` asks.
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
    subprocess.run(["cc", "-shared", "-fPIC", *macros, str(source), "-o", str(tmp_path / machine.DRIVER)], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine.here.cache_clear()
    found = machine.here()
    machine.here.cache_clear()
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
    assert bool(machine._outdated(driver, runtime)) == old


def test_a_hidden_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert machine._blind() == "the CUDA driver sees no GPU (CUDA_VISIBLE_DEVICES is '-1')"


def test_this_machine_is_found_once_and_is_of_one_mind() -> None:
    machine.here.cache_clear()
    assert (machine.no_gpu() is None) == (machine.here().gpu is not None and not machine.here().reason)
    assert machine.here.cache_info().misses == 1
    assert bool(machine.toolchain()) == (machine.here().gpu is not None)
