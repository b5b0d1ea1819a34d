"""Stand-ins, in host memory, for CUDA and for an engine: for the order of the runner's own calls, and nothing else.

They compute no kernel and take no time of a GPU; what they show is that shapes, addresses, copies, captures and events
are asked for in an order that CUDA and TensorRT document as right. They refuse what those would refuse.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from effc.backends.tensorrt.logs import Log
from effc.backends.tensorrt.run.cuda.interface import Bytes, Event, Graph, Handle, Memory, Stream
from effc.backends.tensorrt.run.loading import Loaded
from effc.backends.tensorrt.run.tensors import described
from effc.core.manifest import Manifest, Source, TensorInfo
from effc.core.options import EngineOptions, Profile

TICK_MS = 1.0


@dataclass
class CudaDouble:
    """`cuda.interface.Cuda` whose GPU memory is host memory: each piece of work happens when it is synchronized."""

    name: str = "double"
    capturable: bool = True
    calls: list[str] = field(default_factory=list)
    memory: dict[int, Bytes] = field(default_factory=dict)
    queues: dict[int, list[Callable[[], None]]] = field(default_factory=dict)
    graphs: dict[int, list[Callable[[], None]]] = field(default_factory=dict)
    times: dict[int, float] = field(default_factory=dict)
    capturing: int | None = None
    clock: float = 0.0
    made: int = 0

    def allocate(self, size: int) -> Memory:
        held = np.full(max(size, 1), 0xAB, np.uint8)
        self.memory[held.ctypes.data] = held
        return Memory(held.ctypes.data)

    def pinned(self, size: int) -> Bytes:
        return np.full(size, 0xCD, np.uint8)

    def stream(self) -> Stream:
        made = Stream(self._next())
        self.queues[made.value] = []
        return made

    def event(self) -> Event:
        return Event(self._next())

    def upload(self, memory: Memory, host: Bytes, stream: Stream) -> None:
        self.calls.append("upload")
        self.queue(stream.value, lambda: self._copy(self.memory[memory.value], host))

    def download(self, host: Bytes, memory: Memory, stream: Stream) -> None:
        self.calls.append("download")
        self.queue(stream.value, lambda: self._copy(host, self.memory[memory.value]))

    def record(self, event: Event, stream: Stream) -> None:
        self.calls.append("record")
        self.queue(stream.value, lambda: self.times.__setitem__(event.value, self.clock))

    def elapsed_ms(self, start: Event, end: Event) -> float:
        return self.times[end.value] - self.times[start.value]

    def synchronize(self, stream: Stream) -> None:
        assert self.capturing is None, "CUDA refuses to synchronize a stream under capture"
        self.calls.append("synchronize")
        queued, self.queues[stream.value] = self.queues[stream.value], []
        for work in queued:
            work()

    def capture(self, work: Callable[[], None], stream: Stream) -> Graph | None:
        assert not self.queues[stream.value], "work is under way"
        if not self.capturable:
            return None
        self.calls.append("capture")
        self.capturing = stream.value
        work()
        self.capturing = None
        made = Graph(self._next())
        self.graphs[made.value], self.queues[stream.value] = self.queues[stream.value], []
        return made

    def launch(self, graph: Graph, stream: Stream) -> None:
        self.calls.append("graph")
        self.queues[stream.value] += self.graphs[graph.value]

    def free(self, handle: Handle) -> None:
        kept: dict[int, Any] = self.memory if isinstance(handle, Memory) else self.graphs
        del kept[handle.value]  # freed twice would raise

    def free_bytes(self) -> int:
        return 1 << 30

    def queue(self, stream: int, work: Callable[[], None]) -> None:
        """Work that moves the clock by a tick when it is done."""
        assert stream in self.queues, "no such stream"
        self.queues[stream].append(work)

    def _copy(self, to: Bytes, source: Bytes) -> None:
        count = min(len(to), len(source))
        to[:count] = source[:count]
        self.clock += TICK_MS

    def _next(self) -> int:
        self.made += 1
        return self.made


@dataclass
class TensorDouble:
    """A tensor of the engine's double: dims of -1 are open."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    input: bool = True
    host: bool = False


@dataclass
class ContextDouble:
    """Doubles its first input into its first output, or keeps what is not zero where the output's size is open."""

    engine: EngineDouble
    cuda: CudaDouble
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    addresses: dict[str, int] = field(default_factory=dict)
    allocators: dict[str, Any] = field(default_factory=dict)
    profiles: list[int] = field(default_factory=list)
    profiler: Any = None
    fails: bool = False

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert stream_handle in self.cuda.queues
        self.profiles.append(profile_index)
        return True

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        assert self.profiles, "a context needs a profile first"
        fixed = self.engine.tensor(name).shape
        self.shapes[name] = tuple(shape)
        return len(fixed) == len(shape) and all(want in (-1, have) for want, have in zip(fixed, shape, strict=True))

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return True

    def infer_shapes(self) -> Sequence[str]:
        return [t.name for t in self.engine.tensors if t.input and t.name not in self.shapes]

    def get_tensor_shape(self, name: str) -> Sequence[int]:
        return (-1,) if self.engine.sparse else self.shapes[self.engine.tensors[0].name]

    def get_max_output_size(self, name: str) -> int:
        return int(np.prod(self.shapes[self.engine.tensors[0].name])) * self.engine.dtype.itemsize

    def set_output_allocator(self, name: str, output_allocator: Any) -> bool:
        self.allocators[name] = output_allocator
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        if self.fails:
            return False
        self.cuda.calls.append("execute")
        self.cuda.queue(stream_handle, self._sparse if self.engine.sparse else self._double)
        if self.profiler is not None:
            assert self.cuda.capturing is None, "a graph's layers are not told"
            self.profiler.report_layer_time("double", TICK_MS * len(self.cuda.calls))
        if self.engine.sparse:
            self.cuda.synchronize(Stream(stream_handle))  # TensorRT waits too where it must know a size
        return True

    def _double(self) -> None:
        source, result = self.engine.tensors[0], self.engine.tensors[-1]
        shape = self.shapes[source.name]
        self._memory(self.addresses[result.name], shape)[:] = self._memory(self.addresses[source.name], shape) * 2
        self.cuda.clock += 3 * TICK_MS

    def _sparse(self) -> None:
        source, result = self.engine.tensors[0], self.engine.tensors[-1]
        given = self._memory(self.addresses[source.name], self.shapes[source.name])
        kept = given[given != 0]
        allocator = self.allocators[result.name]
        address = allocator.reallocate_output_async(result.name, 0, kept.nbytes, 256, 0)
        self._memory(address, kept.shape)[:] = kept
        allocator.notify_shape(result.name, kept.shape)

    def _memory(self, address: int, shape: Sequence[int]) -> Any:
        count = int(np.prod(shape)) * self.engine.dtype.itemsize
        raw = np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(address))
        return raw.view(self.engine.dtype).reshape(tuple(shape))


@dataclass
class EngineDouble:
    """`api.ICudaEngine` of one input and one output of the same type."""

    cuda: CudaDouble
    tensors: tuple[TensorDouble, ...]
    dtype: np.dtype[Any]
    sparse: bool = False
    num_layers: int = 1
    device_memory_size_v2: int = 1 << 20
    streamable_weights_size: int = 0
    weight_streaming_budget_v2: int = -1
    contexts: list[ContextDouble] = field(default_factory=list)
    full: bool = False

    @property
    def num_io_tensors(self) -> int:
        return len(self.tensors)

    def tensor(self, name: str) -> TensorDouble:
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def get_tensor_name(self, index: int) -> str:
        return self.tensors[index].name

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=self.tensor(name).dtype)

    def get_tensor_mode(self, name: str) -> str:
        return "in" if self.tensor(name).input else "out"

    def get_tensor_location(self, name: str) -> str:
        return "host" if self.tensor(name).host else "device"

    def get_weight_streaming_automatic_budget(self) -> int:
        return 4096

    def create_execution_context(self) -> ContextDouble | None:
        if self.full:
            return None
        self.contexts.append(ContextDouble(self, self.cuda))
        return self.contexts[-1]


class AllocatorBase:
    """`trt.IOutputAllocator` without its library."""


class ProfilerBase:
    """`trt.IProfiler` without its library."""


TRT: Any = SimpleNamespace(
    __version__="0.double",
    TensorIOMode=SimpleNamespace(INPUT="in", OUTPUT="out"),
    TensorLocation=SimpleNamespace(HOST="host"),
    IOutputAllocator=AllocatorBase,
    IProfiler=ProfilerBase,
)


def manifest(target: str = "trt-fp16", profiles: tuple[Profile, ...] = (), **changes: Any) -> Manifest:
    """A manifest of an engine from `x` to `y`."""
    info = TensorInfo("x", "float32", ("N", 4))
    given = {"engine": EngineOptions(), "toolchain": {}} | changes
    return Manifest(
        "0", target, "onnx", Source("m", "0" * 64, 21), (info,), (info,), (), "model.engine", profiles=profiles, **given
    )


def loaded(engine: EngineDouble, stated: Manifest) -> Loaded:
    """The engine's double as if it were loaded."""
    double: Any = engine
    return Loaded(TRT, double, double, stated, described(TRT, double), Log())
