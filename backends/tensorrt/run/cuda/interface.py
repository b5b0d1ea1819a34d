"""What a binding of CUDA's runtime must do: memory, copies, streams, events and graphs, on the first GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Handle:
    """Something that CUDA made.

    Attributes:
        value: what functions of C take: an address or an opaque pointer.
        owner: the binding's own object, which ends with this.
    """

    value: int
    owner: object = field(default=None, repr=False, compare=False)


class Memory(Handle):
    """Memory on the GPU."""


class Stream(Handle):
    """A queue of work on the GPU, apart from the default one."""


class Event(Handle):
    """A mark in a stream, with its time."""


class Graph(Handle):
    """Captured work, ready to launch."""


class Cuda(Protocol):
    """Each method raises BackendMissing without a GPU or driver, and BackendFailed for all else that CUDA refuses."""

    name: str

    def allocate(self, size: int) -> Memory:
        """`size` bytes on the GPU, aligned to 256 bytes or more."""

    def pinned(self, size: int) -> Bytes:
        """`size` bytes of host memory that copies need not stage; freed with the process."""

    def stream(self) -> Stream:
        """A new stream that does not wait for the default one."""

    def event(self) -> Event:
        """A new event that takes times."""

    def upload(self, memory: Memory, host: Bytes, stream: Stream) -> None:
        """Queue the copy of all of `host` to the start of `memory`."""

    def download(self, host: Bytes, memory: Memory, stream: Stream) -> None:
        """Queue the copy of the start of `memory` to all of `host`."""

    def record(self, event: Event, stream: Stream) -> None:
        """Queue the event."""

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """Milliseconds between two events that have passed; resolution about half a microsecond."""

    def synchronize(self, stream: Stream) -> None:
        """Wait until all that is queued is done."""

    def capture(self, work: Callable[[], None], stream: Stream) -> Graph | None:
        """What `work` queues, as a graph; None where the binding or that work cannot be captured."""

    def launch(self, graph: Graph, stream: Stream) -> None:
        """Queue a graph."""

    def free(self, handle: Handle) -> None:
        """Give memory, a stream, an event or a graph back."""

    def free_bytes(self) -> int:
        """Memory that the GPU has left."""
