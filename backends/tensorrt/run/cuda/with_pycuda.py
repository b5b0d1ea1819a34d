"""The interface over PyCUDA, for those who have it: the driver API in the GPU's primary context."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from effc.backends.tensorrt.run.cuda.interface import Bytes, Event, Graph, Handle, Memory, Stream
from effc.core.errors import BackendFailed, BackendMissing

STAGE = "PyCUDA"
_NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING, which PyCUDA takes as a number and does not name."""


class WithPycuda:
    """`interface.Cuda` over `pycuda.driver`. It has no graphs, so nothing is captured."""

    name = "PyCUDA"

    def __init__(self) -> None:
        try:
            from pycuda import driver

            # TensorRT works in the primary context, so memory must come from there and not from one of PyCUDA's own.
            driver.init()
            self._context = driver.Device(0).retain_primary_context()
            self._context.push()
        except Exception as error:
            raise BackendMissing(
                f"PyCUDA does not start: {error}", where=STAGE, hint="`nvidia-smi` tells why"
            ) from error
        self._driver = driver

    def allocate(self, size: int) -> Memory:
        """`mem_alloc`."""
        made = self._ask(self._driver.mem_alloc, max(size, 1))
        return Memory(int(made), made)

    def pinned(self, size: int) -> Bytes:
        """`pagelocked_empty`."""
        made: Bytes = self._ask(self._driver.pagelocked_empty, size, np.uint8)
        return made

    def stream(self) -> Stream:
        """`Stream`, non-blocking."""
        made = self._ask(self._driver.Stream, _NON_BLOCKING)
        return Stream(int(made.handle), made)

    def event(self) -> Event:
        """`Event`."""
        made = self._ask(self._driver.Event)
        return Event(id(made), made)

    def upload(self, memory: Memory, host: Bytes, stream: Stream) -> None:
        """`memcpy_htod_async`."""
        self._ask(self._driver.memcpy_htod_async, memory.value, host, stream.owner)

    def download(self, host: Bytes, memory: Memory, stream: Stream) -> None:
        """`memcpy_dtoh_async`."""
        self._ask(self._driver.memcpy_dtoh_async, host, memory.value, stream.owner)

    def record(self, event: Event, stream: Stream) -> None:
        """`Event.record`."""
        self._ask(self._of(event).record, stream.owner)

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """`Event.time_since`."""
        return float(self._ask(self._of(end).time_since, start.owner))

    def synchronize(self, stream: Stream) -> None:
        """`Stream.synchronize`."""
        self._ask(self._of(stream).synchronize)

    def capture(self, work: Callable[[], None], stream: Stream) -> Graph | None:
        """PyCUDA wraps no graphs."""
        del work, stream
        return None

    def launch(self, graph: Graph, stream: Stream) -> None:
        """There is none to launch."""
        raise BackendFailed("PyCUDA wraps no graphs", stage=STAGE)

    def free(self, handle: Handle) -> None:
        """Memory is freed; streams and events end with their objects."""
        if isinstance(handle, Memory):
            self._ask(self._of(handle).free)

    def free_bytes(self) -> int:
        """`mem_get_info`."""
        free, _ = self._ask(self._driver.mem_get_info)
        return int(free)

    @staticmethod
    def _of(handle: Handle) -> Any:
        return handle.owner

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._driver.Error as error:
            raise BackendFailed(f"{type(error).__name__}: {error}", stage=STAGE) from error
