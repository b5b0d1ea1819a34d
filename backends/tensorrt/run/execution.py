"""One execution context with a stream and buffers of its own: bind, upload, launch, download, fetch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from effc.backends.tensorrt.api import IOutputAllocator
from effc.backends.tensorrt.logs import derived
from effc.backends.tensorrt.run.cuda.interface import Bytes, Cuda, Graph, Memory
from effc.backends.tensorrt.run.loading import Loaded
from effc.backends.tensorrt.run.outputs import Found, allocator
from effc.backends.tensorrt.run.tensors import STAGE, Array, Tensor, as_bytes, from_bytes, settled, size, taken
from effc.core.errors import BackendFailed
from effc.core.profiles import covering


@dataclass(frozen=True)
class Slot:
    """Where a tensor lies while the shapes stay: as many bytes on the host as on the GPU.

    Attributes:
        shape: of an output whose size depends on values the dims that are known, -1 for the rest.
        memory: None for a tensor that the engine reads or writes on the host.
    """

    tensor: Tensor
    shape: tuple[int, ...]
    host: Bytes
    memory: Memory | None

    @property
    def address(self) -> int:
        """What the engine is told."""
        return int(self.host.ctypes.data) if self.memory is None else self.memory.value


class Execution:
    """Runs an engine on one batch at a time; several of them share the engine and run at once."""

    def __init__(self, loaded: Loaded, cuda: Cuda) -> None:
        self._loaded, self._cuda = loaded, cuda
        self._context = loaded.context()
        self.stream = cuda.stream()
        self._slots: dict[str, Slot] = {}
        self._pool: dict[str, tuple[Bytes, Memory]] = {}
        self._profile = -1  # only the first context of an engine starts with one
        self._found: Found | None = None
        self._allocator: IOutputAllocator | None = None  # held for as long as the context may call it
        self._graph: Graph | None = None
        self._tried = False

    @property
    def graphed(self) -> bool:
        """Whether launches go through a CUDA graph."""
        return self._graph is not None

    def bind(self, feeds: Mapping[str, Array]) -> None:
        """Take in the feeds of one batch; shapes, memory and graph stay where they fit already.

        Raises:
            BadInput: no optimization profile covers the shapes.
            BackendFailed: feeds that are no inputs of the engine, or the engine refuses them.
        """
        arrays = taken(self._loaded.tensors, feeds)
        shapes = {name: array.shape for name, array in arrays.items()}
        held = {name: slot.shape for name, slot in self._slots.items() if slot.tensor.input}
        depends = any(tensor.input and tensor.host for tensor in self._loaded.tensors)
        if shapes != held or depends:
            self._forget()
            self._reshape(arrays)
        for name, array in arrays.items():
            self._slots[name].host[:] = as_bytes(array)

    def upload(self) -> None:
        """Queue the copies of all inputs to the GPU."""
        for slot in self._slots.values():
            if slot.tensor.input and slot.memory is not None:
                self._cuda.upload(slot.memory, slot.host, self.stream)

    def launch(self) -> None:
        """Queue the engine, through its graph where there is one."""
        if self._graph is not None:
            self._cuda.launch(self._graph, self.stream)
        else:
            self._enqueue()

    def capture(self) -> None:
        """Draw the launch up as a graph, once for these shapes; where that cannot be, launches stay as they are.

        The engine must have run before: what it still settles in its first run cannot be captured.
        """
        if not self._tried and self._found is None:
            self.launch()
            self.synchronize()
            self._graph = self._cuda.capture(self._enqueue, self.stream)
        self._tried = True

    def download(self) -> None:
        """Queue the copies of all outputs to the host."""
        for slot in self._slots.values():
            if not slot.tensor.input and slot.memory is not None:
                self._cuda.download(slot.host, slot.memory, self.stream)

    def synchronize(self) -> None:
        """Wait until all that is queued is done."""
        self._cuda.synchronize(self.stream)

    def layer_ms(self, runs: int) -> dict[str, float]:
        """Median milliseconds of each layer over as many launches, by the library's profiler, which slows them down."""
        taken: dict[str, list[float]] = {}

        def told(_: object, layer_name: str, ms: float) -> None:
            taken.setdefault(layer_name, []).append(ms)

        self._context.profiler = derived(self._loaded.trt.IProfiler, report_layer_time=told)
        for _ in range(runs):
            self._enqueue()
            self.synchronize()
        return {name: float(np.median(times)) for name, times in taken.items()}

    def fetch(self) -> dict[str, Array]:
        """The outputs, once they are downloaded."""
        late = self._found.shapes if self._found is not None else {}
        outputs = {name: slot for name, slot in self._slots.items() if not slot.tensor.input}
        return {name: from_bytes(s.host, s.tensor, late.get(name, s.shape)) for name, s in outputs.items()}

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self.stream.value):
            raise BackendFailed(f"the engine does not run: {self._loaded.reason()}", stage=STAGE)

    def _forget(self) -> None:
        """Give back what belongs to the shapes so far; the buffers stay for others."""
        if self._graph is not None:
            self._cuda.free(self._graph)
        self._slots, self._graph, self._found, self._tried = {}, None, None, False

    def _reshape(self, arrays: Mapping[str, Array]) -> None:
        """Tell the engine the inputs' shapes and places; then those of the outputs, which follow from them."""
        self._choose(covering(self._loaded.manifest.profiles, {name: a.shape for name, a in arrays.items()}))
        for tensor in self._loaded.tensors:
            if tensor.input:
                shape = arrays[tensor.name].shape
                self._accept(self._context.set_input_shape(tensor.name, shape), f"the shape {shape} of {tensor.name!r}")
                slot = self._slots[tensor.name] = self._slot(tensor, shape, size(tensor, shape))
                slot.host[:] = as_bytes(arrays[tensor.name])  # before shapes are inferred: they may depend on it
                self._place(slot)
        if lacking := self._context.infer_shapes():
            raise BackendFailed(f"the engine lacks the shapes of {', '.join(lacking)}", stage=STAGE)
        for tensor in self._loaded.tensors:
            if not tensor.input:
                self._slots[tensor.name] = self._output(tensor)
        self._allocate()

    def _output(self, tensor: Tensor) -> Slot:
        shape = tuple(self._context.get_tensor_shape(tensor.name))
        most = size(tensor, shape) if settled(shape) else self._context.get_max_output_size(tensor.name)
        return self._slot(tensor, shape, most)

    def _allocate(self) -> None:
        """Settled outputs get their addresses, the others an allocator that tells what they turned out to be."""
        outputs = [slot for slot in self._slots.values() if not slot.tensor.input]
        late = {s.tensor.name: (s.address, s.host.nbytes) for s in outputs if not settled(s.shape)}
        for slot in outputs:
            if settled(slot.shape):
                self._place(slot)
        if late:
            self._found = Found(late)
            self._allocator = allocator(self._loaded.trt, self._found)
            for name in late:
                done = self._context.set_output_allocator(name, self._allocator)
                self._accept(done, f"an allocator for {name!r}")

    def _slot(self, tensor: Tensor, shape: tuple[int, ...], most: int) -> Slot:
        if tensor.host:
            return Slot(tensor, shape, np.zeros(most, np.uint8), None)
        host, memory = self._buffers(tensor.name, most)
        return Slot(tensor, shape, host[:most], memory)

    def _buffers(self, name: str, least: int) -> tuple[Bytes, Memory]:
        """The tensor's buffers, which only grow, so that batches of changing size do not allocate again and again."""
        if name not in self._pool or self._pool[name][0].nbytes < least:
            if name in self._pool:
                self._cuda.free(self._pool[name][1])
            self._pool[name] = (self._cuda.pinned(least), self._cuda.allocate(least))
        return self._pool[name]

    def _choose(self, profile: int) -> None:
        if profile != self._profile:
            done = self._context.set_optimization_profile_async(profile, self.stream.value)
            self._accept(done, f"optimization profile {profile}")
            self.synchronize()
            self._profile = profile

    def _place(self, slot: Slot) -> None:
        done = self._context.set_tensor_address(slot.tensor.name, slot.address)
        self._accept(done, f"memory for {slot.tensor.name!r}")

    def _accept(self, done: bool, what: str) -> None:
        if not done:
            raise BackendFailed(f"the engine refuses {what}: {self._loaded.reason()}", stage=STAGE)
