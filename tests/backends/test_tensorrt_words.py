"""What a build tells and keeps, tried without one: progress, errors in our words, the name of its timing cache."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effc.backends.tensorrt.build import cache, complaints
from effc.backends.tensorrt.build.monitor import PERCENT, Meter
from effc.core.options import EngineOptions


def test_place_of_the_timing_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFFC_CACHE", str(tmp_path))
    machine = {"gpu": "NVIDIA L4", "tensorrt": "10.16.1.11"}
    place = cache.place(None, machine, EngineOptions())
    assert place is not None and place.parent == tmp_path / "timing"
    assert place.name.startswith("nvidia-l4-10.16.1.11-")
    same = EngineOptions(timeout_s=1.0, workspace_mb=3)
    assert cache.place(None, machine, same) == place
    others = [(machine | {"gpu": "NVIDIA T4"}, EngineOptions()), (machine | {"tensorrt": "11.4"}, EngineOptions())]
    others += [(machine, EngineOptions(level=5)), (machine, EngineOptions(tf32=False))]
    assert len({place, *(cache.place(None, *other) for other in others)}) == 1 + len(others)
    assert cache.place("", machine, EngineOptions()) is None
    assert cache.place("mine", machine, EngineOptions()) == Path.cwd() / "mine"


RECORDED = [
    (
        "IBuilder::buildSerializedNetwork: Error Code 2: OutOfMemory (Requested size was 89669247 bytes.)",
        "out of memory",
    ),
    ("std::bad_alloc", "out of memory"),
    ("MyelinCheckException: myelin_tensor.h:47: CHECK(p) failed.  In compileGraph", "out of memory"),
    ("Unexpected exception Resource temporarily unavailable In RAIIMyelinGraph", "out of memory"),
    ("CUDA_ERROR_OUT_OF_MEMORY", "out of memory"),
    ("Tactic Selection: no tactics to implement the operation within workspace limit.", "no kernel fits"),
    (
        "Error Code 4 (IConvolutionLayer a/Conv: a/out: tensor volume exceeds 1099511627776, dimensions are [9,1] In x",
        "tensor 'a/out' of dims 9,1 would have more than 1099511627776 values",
    ),
    (
        "(kOPT values for profile 0 violate shape constraints: /o.0/MatMul: dimensions do not match Condition '==' is",
        "the model does not compute with the OPT dims of profile 0: /o.0/MatMul: dimensions do not match",
    ),
    (
        "Cannot compile for target(s) sm75, sm80, because the model contains HW-specific datatypes: fp8_e4m3. In x",
        "sm75, sm80 cannot compute in fp8_e4m3",
    ),
    (
        "Cannot compile operation 'a b' for Turing (SM75): FP32 GEMM is not supported. In compileGraph",
        "Turing (SM75) has no FP32 GEMM, which node 'a b' needs",
    ),
    (
        "Unable to load library: libnvinfer_lean.so.10: libnvinfer_lean.so.10: cannot open",
        "libnvinfer_lean.so.10 is not",
    ),
    ("(cudaError 35: CUDA driver version is insufficient for CUDA runtime version)", "no GPU with a driver"),
    ("Something new: 42", "Something new: 42"),
]


@pytest.mark.parametrize(("message", "said"), RECORDED)
def test_the_library_in_our_words(message: str, said: str) -> None:
    error = complaints.failure("build", ["first", message, message])
    assert said in error.what and error.hint
    assert message in error.log


def test_the_worst_complaint_wins() -> None:
    """A machine without a GPU complains of that in every build: it is no reason where another is stated."""
    no_gpu = "cudaError 35: CUDA driver version is insufficient"
    assert "no kernel fits" in complaints.failure("build", [no_gpu, "workspace limit", no_gpu]).what
    assert "the library does not say why" in complaints.failure("build", []).what


def test_phases_add_up() -> None:
    told: list[int] = []
    meter = Meter(lambda done, _: told.append(done))
    meter.start("all", None, 2)
    meter.start("first", "all", 4)
    assert all(meter.step("first", step) for step in range(4))
    meter.finish("first")
    meter.step("all", 0)
    meter.start("second", "all", 1)
    meter.start("within", "second", 2)
    meter.step("within", 0)
    meter.finish("all")
    assert told == [12, 25, 37, 50, 75, 100]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["", "a", "b"]), st.integers(0, 5)), max_size=40))
def test_progress_never_falls(events: list[tuple[str, str, int]]) -> None:
    """Whatever order phases come in, and from whichever thread."""
    told: list[int] = []
    meter = Meter(lambda done, _: told.append(done))

    def play(part: list[tuple[str, str, int]]) -> None:
        for name, parent, number in part:
            meter.start(name, parent if parent != name else None, number)
            meter.step(name, number)
            meter.finish(name)

    threads = [threading.Thread(target=play, args=(events[start::2],)) for start in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == sorted(set(told))
    assert all(0 < done <= PERCENT for done in told)
