"""Engines held against machines."""

from __future__ import annotations

import pytest
from gpu_doubles import manifest

from effc.backends.tensorrt.run import compatibility
from effc.core.device import Gpu, Machine
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
    compatibility.check(manifest(target, toolchain=toolchain, engine=engine), Machine(gpu), installed, "out/engine")


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
        compatibility.check(manifest("rtx-int8:sm89+sm120", toolchain=TOLD), Machine(T4), "1.7.1.116")
    assert "--target rtx-int8:sm89+sm120+sm75" in caught.value.hint


@pytest.mark.parametrize(("gpu", "text"), [(L4, ""), (RTX4090, "chosen on NVIDIA L4"), (None, "")])
def test_a_remark_on_another_model_of_gpu(gpu: Gpu | None, text: str) -> None:
    found = compatibility.remark(manifest(toolchain=built(L4)), Machine(gpu))
    assert text in found
    assert bool(found) == bool(text)
