"""The interface over cuda-python: `cuda.bindings.runtime`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from effc.backends.tensorrt.run.cuda.interface import Bytes, Event, Graph, Handle, Memory, Stream
from effc.core.errors import BackendFailed, BackendMissing, EffcError

STAGE = "CUDA"
_ABSENT = {
    "cudaErrorInsufficientDriver": "install an NVIDIA driver that serves this CUDA, or an older cuda-bindings",
    "cudaErrorNoDevice": "run it on a machine with an NVIDIA GPU; CUDA_VISIBLE_DEVICES may hide it",
    "cudaErrorInitializationError": "`nvidia-smi` tells whether the driver works",
    "cudaErrorSystemDriverMismatch": "restart the machine after a driver update",
}
_HINTS = {
    "cudaErrorMemoryAllocation": "the GPU's memory is full: a smaller batch, fewer --streams, or end what else runs",
    "cudaErrorIllegalAddress": "a kernel went astray; another TensorRT version may not",
}


class CudaPython:
    """`interface.Cuda` over cuda-python's runtime API."""

    name = "cuda-python"

    def __init__(self) -> None:
        from cuda.bindings import runtime

        self._api = runtime
        self._free = {
            Memory: runtime.cudaFree,
            Stream: runtime.cudaStreamDestroy,
            Event: runtime.cudaEventDestroy,
            Graph: runtime.cudaGraphExecDestroy,
        }

    def allocate(self, size: int) -> Memory:
        """cudaMalloc."""
        return Memory(int(self._ask(self._api.cudaMalloc, max(size, 1))))

    def pinned(self, size: int) -> Bytes:
        """cudaMallocHost, seen as an array."""
        address = int(self._ask(self._api.cudaMallocHost, max(size, 1)))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def stream(self) -> Stream:
        """cudaStreamCreateWithFlags, non-blocking."""
        made = self._ask(self._api.cudaStreamCreateWithFlags, self._api.cudaStreamNonBlocking)
        return Stream(int(made), made)

    def event(self) -> Event:
        """cudaEventCreate."""
        made = self._ask(self._api.cudaEventCreate)
        return Event(int(made), made)

    def upload(self, memory: Memory, host: Bytes, stream: Stream) -> None:
        """cudaMemcpyAsync, host to device."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._ask(self._api.cudaMemcpyAsync, memory.value, host.ctypes.data, host.nbytes, kind, stream.owner)

    def download(self, host: Bytes, memory: Memory, stream: Stream) -> None:
        """cudaMemcpyAsync, device to host."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._ask(self._api.cudaMemcpyAsync, host.ctypes.data, memory.value, host.nbytes, kind, stream.owner)

    def record(self, event: Event, stream: Stream) -> None:
        """cudaEventRecord."""
        self._ask(self._api.cudaEventRecord, event.owner, stream.owner)

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """cudaEventElapsedTime."""
        return float(self._ask(self._api.cudaEventElapsedTime, start.owner, end.owner))

    def synchronize(self, stream: Stream) -> None:
        """cudaStreamSynchronize."""
        self._ask(self._api.cudaStreamSynchronize, stream.owner)

    def capture(self, work: Callable[[], None], stream: Stream) -> Graph | None:
        """cudaStreamBeginCapture to cudaGraphInstantiate. What breaks a capture leaves the stream as it was."""
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._ask(self._api.cudaStreamBeginCapture, stream.owner, mode)
        fine = True
        try:
            work()
        except EffcError:
            fine = False
        status, drawn = self._api.cudaStreamEndCapture(stream.owner)
        if status != self._api.cudaError_t.cudaSuccess or not int(drawn):
            self._api.cudaGetLastError()  # else the next call would report the broken capture
            return None
        made = self._api.cudaGraphInstantiate(drawn, 0) if fine else None
        self._ask(self._api.cudaGraphDestroy, drawn)
        if made is None or made[0] != self._api.cudaError_t.cudaSuccess:
            return None
        return Graph(int(made[1]), made[1])

    def launch(self, graph: Graph, stream: Stream) -> None:
        """cudaGraphLaunch."""
        self._ask(self._api.cudaGraphLaunch, graph.owner, stream.owner)

    def free(self, handle: Handle) -> None:
        """The call that undoes the one that made it."""
        self._ask(self._free[type(handle)], handle.value if handle.owner is None else handle.owner)

    def free_bytes(self) -> int:
        """cudaMemGetInfo."""
        free, _ = self._ask(self._api.cudaMemGetInfo)
        return int(free)

    def _ask(self, function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
        """What the call gives beside its status: nothing, a value, or several."""
        try:
            status, *values = function(*arguments)
        except RuntimeError as error:  # cuda-bindings 12 without a driver has no status to give
            raise BackendMissing(str(error), where=STAGE, hint=_ABSENT["cudaErrorInsufficientDriver"]) from error
        if status != self._api.cudaError_t.cudaSuccess:
            raise refused(function.__name__, status.name, self._text(status))
        return values[0] if len(values) == 1 else tuple(values)

    def _text(self, status: Any) -> str:
        _, text = self._api.cudaGetErrorString(status)
        return str(text.decode(errors="replace"))


def refused(call: str, error: str, text: str) -> EffcError:
    """CUDA's error as one of ours: BackendMissing where there is no GPU to speak of, else BackendFailed."""
    what = f"{call} gives {error}: {text}"
    if error in _ABSENT:
        return BackendMissing(what, where=STAGE, hint=_ABSENT[error])
    return BackendFailed(what, stage=STAGE, hint=_HINTS.get(error, ""))
