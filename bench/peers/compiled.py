"""`torch.compile` of the ONNX model as onnx2torch converts it, on the GPU where torch sees one. Runs in a child."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from effc.backends.base import Array, Feeds, Timing
from effc.compiler import mapped, oracle, reader
from effc.core import host
from effc.core.errors import BackendFailed, BackendMissing

STAGE = "torch.compile"
_CASTS = {"fp16": "float16", "bf16": "bfloat16"}


class TorchCompile:
    """`backends.base.Runner` over a compiled module; floats are cast to its precision on the device."""

    def __init__(self, model: Path, precision: str, threads: int) -> None:
        self._torch, convert = _module("torch"), _module("onnx2torch").convert
        self._torch.set_num_threads(threads)
        self._device = "cuda" if self._torch.cuda.is_available() else "cpu"
        self._cast = getattr(self._torch, _CASTS[precision]) if precision in _CASTS else None
        proto = mapped.read_in(reader.read(model).proto)
        self._inputs = [entry.name for entry in oracle.graph_inputs(proto)]
        self._outputs = [output.name for output in proto.graph.output]
        try:
            module = convert(proto).eval().to(device=self._device, dtype=self._cast)
        except Exception as error:  # whatever a converter that lacks an op raises
            what = f"onnx2torch does not convert the model: {type(error).__name__}: {error}"
            raise BackendFailed(what, stage=STAGE) from error
        self._call = self._torch.compile(module)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """One inference."""
        found = self._compute(self._moved(feeds))
        arrays = [self._float(tensor).cpu().numpy() for tensor in found]
        return dict(zip(self._outputs, arrays, strict=True))

    def measure(self, feeds: Feeds, iterations: int) -> Timing:
        """Host seconds of a call and the wait for it; on a GPU those between events, and of the copies, too."""
        self._compute(self._moved(feeds))  # compiles for these shapes
        taken = [self._once(feeds) for _ in range(iterations)]
        seconds, gpu, copies = zip(*taken, strict=True) if taken else ((), (), ())
        return Timing(seconds, gpu, copies) if self._device == "cuda" else Timing(seconds)

    def facts(self) -> dict[str, float | int | str]:
        """torch's version, its device and the process's peak memory in MB."""
        found: dict[str, float | int | str] = {
            "runtime": f"torch {self._torch.__version__} compile",
            "peak_rss_mb": host.peak_rss_mb(),
        }
        return found | ({"gpu": self._torch.cuda.get_device_name(0)} if self._device == "cuda" else {})

    def _once(self, feeds: Feeds) -> tuple[float, float, float]:
        start = time.perf_counter()
        tensors = self._moved(feeds)
        self._wait()
        ready = time.perf_counter()
        found, gpu = self._watched(tensors)
        done = time.perf_counter()
        for tensor in found:
            tensor.cpu()
        return done - ready, gpu, ready - start + time.perf_counter() - done

    def _watched(self, tensors: list[Any]) -> tuple[list[Any], float]:
        """The outputs, waited for, and on a GPU the seconds between events."""
        if self._device != "cuda":
            return self._compute(tensors), 0.0
        begin, end = (self._torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        found = self._compute(tensors)
        end.record()
        self._wait()
        return found, begin.elapsed_time(end) / 1e3

    def _compute(self, tensors: list[Any]) -> list[Any]:
        with self._torch.inference_mode():
            found = self._call(*tensors)
        return list(found) if isinstance(found, tuple | list) else [found]

    def _moved(self, feeds: Feeds) -> list[Any]:
        tensors = [self._torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in self._inputs]
        return [t.to(self._device, self._cast if t.is_floating_point() else None) for t in tensors]

    def _float(self, tensor: Any) -> Any:
        """float32 where it was cast, since NumPy has no bfloat16."""
        return tensor.float() if self._cast is not None and tensor.is_floating_point() else tensor

    def _wait(self) -> None:
        if self._device == "cuda":
            self._torch.cuda.synchronize()


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        what = f"{name} does not import: {error}"
        raise BackendMissing(what, where=STAGE, hint="pip install torch onnx2torch") from error
