"""Runners: TVM's virtual machine in this process, or a foreign library under an emulator. Made in a child process.

Of TVM only the runtime is loaded, some 4 MB, not the compiler.
"""

from __future__ import annotations

import ctypes
import importlib.util
import time
from pathlib import Path
from typing import Any

import numpy as np

from effc.backends.base import Array, Feeds, Runner, Timing
from effc.backends.tvm.described import Described, is_native
from effc.core import host
from effc.core.errors import BackendMissing

_CPU, _POOLED = 1, 2
"""kDLCPU; the VM's allocator that keeps blocks for the next run."""
_PINNED = -2
"""The thread pool's mode in which worker i runs on the i-th of the CPUs that are named."""
_MAIN = "main"
_ALIGNMENT = 64
"""Bytes: what the kernels' vector loads are promised."""


def runner(folder: Path, file: str, threads: int) -> Runner:
    """The runner of a library, by the machine that its header names."""
    from effc.backends.tvm.emulated import EmulatedRunner

    return TvmRunner(folder, file, threads) if is_native(folder / file) else EmulatedRunner(folder, file, threads)


class TvmRunner:
    """`backends.base.Runner` over the relax VM."""

    def __init__(self, folder: Path, file: str, threads: int) -> None:
        import tvm_ffi

        ctypes.CDLL(str(runtime_library()), ctypes.RTLD_GLOBAL)
        cpus = [str(cpu) for cpu in host.cpus()[-threads:]]
        tvm_ffi.get_global_func("runtime.config_threadpool")(_PINNED, threads, cpus)
        self._tensor, self._threads = tvm_ffi.from_dlpack, threads
        self._described = Described.read(folder)
        self._library: Any = tvm_ffi.load_module(str((folder / file).resolve()))
        self._vm: Any = self._library["vm_load_executable"]()
        self._vm["vm_initialization"](_CPU, 0, _POOLED)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """One inference; a dynamic batch follows the feeds."""
        made = self._vm[_MAIN](*self._arguments(feeds))
        names = self._described.outputs
        return dict(zip(names, _arrays([made] if len(names) == 1 else made), strict=True))

    def measure(self, feeds: Feeds, iterations: int) -> Timing:
        """Seconds of each call, inputs set once, outputs left in place."""
        self._vm["set_input"](_MAIN, *self._arguments(feeds))
        call, seconds = self._vm["invoke_stateful"], []
        for _ in range(iterations):
            start = time.perf_counter()
            call(_MAIN)
            seconds.append(time.perf_counter() - start)
        return Timing(tuple(seconds))

    def facts(self) -> dict[str, float | int | str]:
        """The runtime, its kernels and threads, and the process's peak memory in MB."""
        facts: dict[str, float | int | str] = {"runtime": "TVM", "kernels": len(self._described.kernels)}
        return facts | {"threads": self._threads, "peak_rss_mb": host.peak_rss_mb()}

    def _arguments(self, feeds: Feeds) -> list[Any]:
        return [self._tensor(_aligned(np.asarray(feeds[name]))) for name in self._described.inputs]


def runtime_library() -> Path:
    """TVM's runtime in the installed package. Raises BackendMissing where it is not there."""
    spec = importlib.util.find_spec("tvm")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    found = [path for folder in folders for path in Path(folder).glob("**/libtvm_runtime.so")]
    if not found:
        raise BackendMissing("TVM's runtime is not installed", hint="pip install 'effc[tvm]'")
    return found[0]


def _aligned(array: Array) -> Array:
    """A dense copy that begins where vector loads may."""
    room = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _arrays(tensors: Any) -> list[Array]:
    """Copies, since the VM reuses its memory."""
    return [np.array(np.from_dlpack(tensor)) for tensor in tensors]
