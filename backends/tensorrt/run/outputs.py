"""Outputs whose size depends on values: memory for the most they can be, and the shape that they turn out to have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from effc.backends.tensorrt.api import IOutputAllocator, Trt


@dataclass
class Found:
    """What the engine told of such outputs in its last run.

    Attributes:
        room: address and bytes that each output may use.
        shapes: the shape that each has.
    """

    room: Mapping[str, tuple[int, int]]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def place(self, name: str, size: int) -> int | None:
        """The output's address; None, which the library takes for a refusal, where it has not that many bytes."""
        address, most = self.room[name]
        return address if size <= most else None


def allocator(trt: Trt, found: Found) -> IOutputAllocator:
    """An allocator of the library's kind that hands out what `found` has room for."""
    base: Any = trt.IOutputAllocator

    class Allocator(base):  # type: ignore[misc]
        """Called by the library while it runs. TensorRT 10 and newer call the first, older paths the second."""

        def __init__(self) -> None:
            base.__init__(self)

        def reallocate_output_async(self, name: str, memory: int, size: int, alignment: int, stream: int) -> int | None:
            del memory, alignment, stream
            return found.place(name, size)

        def reallocate_output(self, name: str, memory: int, size: int, alignment: int) -> int | None:
            del memory, alignment
            return found.place(name, size)

        def notify_shape(self, name: str, shape: Sequence[int]) -> None:
            found.shapes[name] = tuple(shape)

    return cast(IOutputAllocator, Allocator())
