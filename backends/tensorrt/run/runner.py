"""EngineRunner: a TensorRT engine on the GPU. Runs in a child process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from effc.backends.base import Array, Feeds, Timing
from effc.backends.tensorrt.library import LIBRARIES
from effc.backends.tensorrt.run import compatibility
from effc.backends.tensorrt.run.cuda.choose import cuda
from effc.backends.tensorrt.run.cuda.interface import Cuda, Event
from effc.backends.tensorrt.run.execution import Execution
from effc.backends.tensorrt.run.loading import Loaded, load
from effc.backends.tensorrt.run.tensors import batch
from effc.core import device, host
from effc.core.target import Target

_PROFILED = 20


@dataclass(frozen=True)
class Stopwatch:
    """Two events around what an execution queues."""

    cuda: Cuda
    start: Event
    end: Event

    @classmethod
    def on(cls, cuda: Cuda) -> Stopwatch:
        """With new events."""
        return cls(cuda, cuda.event(), cuda.event())

    def around(self, queue: Callable[[], None], execution: Execution) -> None:
        """Queue it between the events and wait until all is done."""
        self.cuda.record(self.start, execution.stream)
        queue()
        self.cuda.record(self.end, execution.stream)
        execution.synchronize()

    def seconds(self) -> float:
        """On the GPU's clock, of the last `around`."""
        return self.cuda.elapsed_ms(self.start, self.end) / 1e3


class Session:
    """`backends.base.Runner` over an engine that is loaded, and `throughput` over several streams of it."""

    def __init__(self, loaded: Loaded, cuda: Cuda) -> None:
        self._loaded, self._cuda = loaded, cuda
        self._executions = [Execution(loaded, cuda)]
        self._watches = tuple(Stopwatch.on(cuda) for _ in range(3))

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """One inference, copies included."""
        execution = self._executions[0]
        execution.bind(feeds)
        execution.upload()
        execution.launch()
        execution.download()
        execution.synchronize()
        return execution.fetch()

    def measure(self, feeds: Feeds, iterations: int) -> Timing:
        """Each iteration copies in, runs and copies out, and each of the three waits for the one before.

        `seconds` is the host's clock from the launch to the end of the wait, copies apart; it holds two event
        records, some microseconds. `gpu` is the time between those events, `copies` that of the copies on the GPU.
        """
        execution = self._executions[0]
        execution.bind(feeds)
        execution.upload()
        execution.capture()
        taken = [self._once(execution) for _ in range(iterations)]
        seconds, gpu, copies = zip(*taken, strict=True) if taken else ((), (), ())
        return Timing(seconds, gpu, copies)

    def layer_ms(self, feeds: Feeds) -> dict[str, float]:
        """Milliseconds of each layer for these feeds; no CUDA graph, whose layers the profiler would not see."""
        execution = Execution(self._loaded, self._cuda)
        execution.bind(feeds)
        execution.upload()
        execution.launch()
        execution.synchronize()
        return execution.layer_ms(_PROFILED)

    def throughput(self, feeds: Feeds, streams: int, seconds: float) -> float:
        """Samples a second with `streams` batches in flight, each in its own context and stream, copies included."""
        while len(self._executions) < streams:
            self._executions.append(Execution(self._loaded, self._cuda))
        lanes = self._executions[:streams]
        for lane in lanes:
            lane.bind(feeds)
            lane.upload()
            lane.capture()
        calls, start = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - start < seconds:
            calls += _turn(lanes)
        for lane in lanes:
            lane.synchronize()
        return calls * batch(feeds) / (time.perf_counter() - start)

    def facts(self) -> dict[str, float | int | str]:
        """The library, the binding, the GPU, what the engine takes of its memory, and this process's peak in MB."""
        engine, manifest, gpu = self._loaded.engine, self._loaded.manifest, device.here().gpu
        library = LIBRARIES[Target.parse(manifest.target).backend]
        found: dict[str, float | int | str] = {
            "runtime": f"{library.title} {self._loaded.trt.__version__}",
            "cuda": self._cuda.name,
            "layers": engine.num_layers,
            "scratch_mb": engine.device_memory_size_v2 / 2**20,
            "gpu_free_mb": self._cuda.free_bytes() / 2**20,
            "cuda_graph": "yes" if self._executions[0].graphed else "no",
            "peak_rss_mb": host.peak_rss_mb(),
        }
        if gpu is not None:
            found |= {"gpu": gpu.name, "gpu_memory_mb": gpu.memory_mb}
            found |= {"remark": compatibility.remark(manifest, device.here())}
        return found

    def _once(self, execution: Execution) -> tuple[float, float, float]:
        """Host seconds, GPU seconds and seconds of copies of one inference."""
        into, inside, out = self._watches
        into.around(execution.upload, execution)
        start = time.perf_counter()
        inside.around(execution.launch, execution)
        seconds = time.perf_counter() - start
        out.around(execution.download, execution)
        return seconds, inside.seconds(), into.seconds() + out.seconds()


class EngineRunner(Session):
    """A session with the engine of an artifact, on the first GPU."""

    def __init__(self, folder: Path, file: str, threads: int) -> None:
        del threads  # the host only queues
        super().__init__(load(folder, file), cuda())


def layer_ms(folder: Path, file: str, feeds: Feeds) -> dict[str, float]:
    """`Session.layer_ms` of an artifact, for a child that does nothing else."""
    return EngineRunner(folder, file, 1).layer_ms(feeds)


def _turn(lanes: Sequence[Execution]) -> int:
    """One more batch for every lane, whose last one must be done before; how many that are."""
    for lane in lanes:
        lane.synchronize()
        lane.upload()
        lane.launch()
        lane.download()
    return len(lanes)
