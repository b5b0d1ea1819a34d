"""The bindings of CUDA: their names exist, and without a GPU they refuse in our words."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import support

from effc.backends.tensorrt.run.cuda import choose
from effc.backends.tensorrt.run.cuda.cuda_python import CudaPython, refused
from effc.backends.tensorrt.run.cuda.interface import Cuda, Event, Graph, Memory, Stream
from effc.backends.tensorrt.run.cuda.with_pycuda import WithPycuda
from effc.core import device
from effc.core.errors import BackendFailed, BackendMissing, BadInput

FOLDER = support.ROOT / "backends" / "tensorrt" / "run" / "cuda"
needs_bindings = pytest.mark.skipif(importlib.util.find_spec("cuda") is None, reason="cuda-bindings is not installed")
without_gpu = pytest.mark.skipif(device.no_gpu() is None, reason="there is a GPU")
with_gpu = pytest.mark.skipif(device.no_gpu() is not None, reason=f"needs a GPU: {device.no_gpu()}")
METHODS = {name for name, value in vars(Cuda).items() if callable(value) and not name.startswith("_")}
PYCUDA = {
    "driver": {"init", "Device", "mem_alloc", "pagelocked_empty", "Stream", "Event", "Error"},
    "driver functions": {"memcpy_htod_async", "memcpy_dtoh_async", "mem_get_info"},
    "objects": {"retain_primary_context", "push", "handle", "record", "time_since", "synchronize", "free"},
}
"""The names of PyCUDA 2024.1 and newer, from its documentation of `pycuda.driver`."""


def attributes(path: Path, owner: str) -> set[str]:
    """Names that a file reads from `owner`, as in `self._api.NAME` and `self._api.NAME.MEMBER`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith(f"{owner}."):
            found.add(ast.unparse(node).removeprefix(f"{owner}."))
    return found


@needs_bindings
def test_every_name_exists_in_cuda_python() -> None:
    from cuda.bindings import runtime

    path = FOLDER / "cuda_python.py"
    names = attributes(path, "self._api") | attributes(path, "runtime")
    assert len(names) > 20
    for name in names:
        target = runtime
        for part in name.split("."):
            target = getattr(target, part)
    errors = set(re.findall(r'"(cudaError\w+)"', path.read_text()))
    assert errors <= set(runtime.cudaError_t.__members__)


@needs_bindings
def test_a_name_that_does_not_exist_is_found(tmp_path: Path) -> None:
    from cuda.bindings import runtime

    planted = tmp_path / "planted.py"
    planted.write_text("self._api.cudaMallocTwice(1)")
    [name] = attributes(planted, "self._api")
    assert not hasattr(runtime, name)


def test_every_name_is_pycudas() -> None:
    path = FOLDER / "with_pycuda.py"
    read = {name for owner in ("driver", "self._driver") for name in attributes(path, owner)}
    assert {name.split(".")[0].split("(")[0] for name in read} <= PYCUDA["driver"] | PYCUDA["driver functions"]
    objects = attributes(path, "made") | attributes(path, "self._context")
    assert objects <= PYCUDA["objects"] | {"stream", "event"}


@pytest.mark.parametrize("binding", [CudaPython, WithPycuda])
def test_bindings_are_whole(binding: type[Cuda]) -> None:
    missing = METHODS - {name for name in vars(binding) if not name.startswith("_")}
    assert not missing
    for name in METHODS:
        ours, theirs = getattr(binding, name).__annotations__, getattr(Cuda, name).__annotations__
        assert ours == theirs, name


CALLS: dict[str, Callable[[Cuda], object]] = {
    "allocate": lambda cuda: cuda.allocate(16),
    "pinned": lambda cuda: cuda.pinned(16),
    "stream": lambda cuda: cuda.stream(),
    "event": lambda cuda: cuda.event(),
    "free_bytes": lambda cuda: cuda.free_bytes(),
    "upload": lambda cuda: cuda.upload(Memory(256), np.zeros(4, np.uint8), Stream(0, 0)),
    "download": lambda cuda: cuda.download(np.zeros(4, np.uint8), Memory(256), Stream(0, 0)),
    "record": lambda cuda: cuda.record(Event(0, 0), Stream(0, 0)),
    "elapsed_ms": lambda cuda: cuda.elapsed_ms(Event(0, 0), Event(0, 0)),
    "synchronize": lambda cuda: cuda.synchronize(Stream(0, 0)),
    "capture": lambda cuda: cuda.capture(lambda: None, Stream(0, 0)),
    "launch": lambda cuda: cuda.launch(Graph(0, 0), Stream(0, 0)),
    "free": lambda cuda: cuda.free(Memory(256)),
}


def test_every_method_is_called() -> None:
    assert set(CALLS) == METHODS


@needs_bindings
@without_gpu
@pytest.mark.parametrize("name", CALLS)
def test_without_a_gpu_each_call_says_so(name: str) -> None:
    with pytest.raises(BackendMissing, match=r"gives cudaError(InsufficientDriver|NoDevice)|dlopen|cuInit") as caught:
        CALLS[name](CudaPython())
    assert caught.value.hint


@needs_bindings
def test_a_driver_that_does_not_load_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As cuda-bindings 12 says it: by an exception, and not by a status."""

    def cuda_malloc(size: int) -> tuple[object, ...]:
        raise RuntimeError("Failed to dlopen libcuda.so.1")

    cuda = CudaPython()
    monkeypatch.setattr(cuda, "_api", SimpleNamespace(cudaMalloc=cuda_malloc))
    with pytest.raises(BackendMissing, match=r"dlopen libcuda\.so\.1"):
        cuda.allocate(16)


@pytest.mark.parametrize(
    ("error", "kind", "hint"),
    [
        ("cudaErrorNoDevice", BackendMissing, "CUDA_VISIBLE_DEVICES"),
        ("cudaErrorInsufficientDriver", BackendMissing, "driver"),
        ("cudaErrorMemoryAllocation", BackendFailed, "smaller batch"),
        ("cudaErrorLaunchFailure", BackendFailed, ""),
    ],
)
def test_errors_become_ours(error: str, kind: type[Exception], hint: str) -> None:
    made = refused("cudaMalloc", error, "text")
    assert isinstance(made, kind)
    assert f"cudaMalloc gives {error}: text" in str(made)
    assert hint in made.hint


@needs_bindings
@pytest.mark.parametrize("wanted", ["", "cuda-python"])
def test_cuda_python_comes_first(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choose.VARIABLE, wanted)
    assert choose.binding() == "cuda-python"


def test_an_unknown_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choose.VARIABLE, "opencl")
    with pytest.raises(BadInput, match="no binding of CUDA: 'opencl'"):
        choose.binding()


@pytest.mark.parametrize(
    ("wanted", "there", "expected"),
    [
        ("", (), ""),
        ("", ("pycuda",), "pycuda"),
        ("pycuda", ("cuda", "cuda.bindings"), ""),
        ("pycuda", ("pycuda",), "pycuda"),
    ],
)
def test_what_is_installed_decides(
    wanted: str, there: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(choose.VARIABLE, wanted)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in there else None)
    if expected:
        assert choose.binding() == expected
    else:
        with pytest.raises(BackendMissing, match="is not installed"):
            choose.binding()


@pytest.mark.skipif(importlib.util.find_spec("pycuda") is not None, reason="pycuda is installed")
def test_pycuda_that_is_not_there() -> None:
    with pytest.raises(BackendMissing, match="does not start"):
        WithPycuda()


@with_gpu
def test_on_a_gpu_bytes_travel_and_events_tell_time() -> None:
    cuda = choose.cuda()
    stream, start, end = cuda.stream(), cuda.event(), cuda.event()
    there, back = cuda.pinned(1 << 20), cuda.pinned(1 << 20)
    there[:] = np.random.default_rng(0).integers(0, 256, there.size, dtype=np.uint8)
    back[:] = 0
    memory = cuda.allocate(there.size)
    cuda.record(start, stream)
    cuda.upload(memory, there, stream)
    cuda.download(back, memory, stream)
    cuda.record(end, stream)
    cuda.synchronize(stream)
    np.testing.assert_array_equal(back, there)
    assert cuda.elapsed_ms(start, end) > 0
    if (graph := cuda.capture(lambda: cuda.download(back, memory, stream), stream)) is not None:
        back[:] = 0
        cuda.launch(graph, stream)
        cuda.synchronize(stream)
        np.testing.assert_array_equal(back, there)
        cuda.free(graph)
    for handle in (memory, start, end, stream):
        cuda.free(handle)


@with_gpu
def test_on_a_gpu_what_does_not_fit_is_told() -> None:
    cuda = choose.cuda()
    with pytest.raises(BackendFailed):
        cuda.allocate(1 << 50)
