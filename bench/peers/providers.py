"""ONNX Runtime's GPU providers, inputs and outputs bound on the device. Runs in a child process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from effc.backends.base import Array, Feeds, Timing
from effc.core import device, host
from effc.core.errors import BackendMissing

_INSTALL = "pip install onnxruntime-gpu in place of onnxruntime"
_COMPLETE = "pip install 'onnxruntime-gpu[cuda,cudnn]', and for TensorRT tensorrt; `effc doctor` tells of the GPU"


class Provider:
    """`backends.base.Runner` over one execution provider.

    Args:
        device: where the provider keeps tensors, as ONNX Runtime spells it.
    """

    def __init__(self, model: Path, provider: str, device: str, threads: int) -> None:
        import onnxruntime as ort

        if provider not in ort.get_available_providers():
            raise BackendMissing(f"the installed onnxruntime has no {provider}", where=provider, hint=_INSTALL)
        self._ort, self._device = ort, device
        if device == "cuda" and hasattr(ort, "preload_dlls"):
            ort.preload_dlls()  # CUDA's libraries that pip installed lie where the loader does not look
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(model), options, providers=[(provider, self.settings())])
        if self._session.get_providers()[0] != provider:
            raise BackendMissing(f"{provider} does not start and leaves all to the CPU", where=provider, hint=_COMPLETE)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def settings(self) -> Mapping[str, str]:
        """Options of the provider."""
        return {}

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """One inference."""
        found = self._session.run(self._outputs, {name: np.ascontiguousarray(array) for name, array in feeds.items()})
        return dict(zip(self._outputs, found, strict=True))

    def measure(self, feeds: Feeds, iterations: int) -> Timing:
        """Host seconds of a run that is bound on the device and waited for; beside it those of the copies."""
        binding = self._session.io_binding()
        for name in self._outputs:
            binding.bind_output(name, self._device)
        taken = [self._once(binding, feeds) for _ in range(iterations)]
        seconds, copies = zip(*taken, strict=True) if taken else ((), ())
        return Timing(seconds, copies=copies)

    def facts(self) -> dict[str, float | int | str]:
        """The runtime, its version and the process's peak memory in MB."""
        runtime = f"ONNX Runtime {self._ort.__version__} {self._session.get_providers()[0]}"
        gpu = device.here().gpu if self._device == "cuda" else None
        found: dict[str, float | int | str] = {"runtime": runtime, "peak_rss_mb": host.peak_rss_mb()}
        return found | ({} if gpu is None else {"gpu": gpu.name})

    def _once(self, binding: Any, feeds: Feeds) -> tuple[float, float]:
        """Host seconds of the run and of the copies."""
        start = time.perf_counter()
        for name, array in feeds.items():
            value = self._ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self._device, 0)
            binding.bind_ortvalue_input(name, value)
        binding.synchronize_inputs()
        ready = time.perf_counter()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        done = time.perf_counter()
        binding.copy_outputs_to_cpu()
        return done - ready, ready - start + time.perf_counter() - done


class CudaProvider(Provider):
    """CUDAExecutionProvider, in the model's own precision."""

    def __init__(self, model: Path, precision: str, threads: int) -> None:
        del precision
        super().__init__(model, "CUDAExecutionProvider", "cuda", threads)


class TensorrtProvider(Provider):
    """TensorrtExecutionProvider, float16 where asked for."""

    def __init__(self, model: Path, precision: str, threads: int) -> None:
        self._precision = precision
        super().__init__(model, "TensorrtExecutionProvider", "cuda", threads)

    def settings(self) -> Mapping[str, str]:
        """Its name for float16."""
        return {"trt_fp16_enable": "1"} if self._precision == "fp16" else {}
