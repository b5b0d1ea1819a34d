"""OrtRunner: an artifact in ONNX Runtime with all its optimizations. Runs in a child process."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from effc.backends.base import Array, Feeds, Timing
from effc.core import host


class OrtRunner:
    """`backends.base.Runner` over ONNX Runtime's CPU provider."""

    def __init__(self, folder: Path, file: str, threads: int) -> None:
        import onnxruntime as ort

        self._model = folder / file
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # Spinning threads would take the core of the runtime that is measured in turn with this one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
        self._session = ort.InferenceSession(str(self._model), options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """One inference."""
        found = self._session.run(self._outputs, {name: np.asarray(a, order="C") for name, a in feeds.items()})
        return dict(zip(self._outputs, found, strict=True))

    def measure(self, feeds: Feeds, iterations: int) -> Timing:
        """Seconds of each run with inputs and outputs bound once."""
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, np.asarray(array, order="C"))
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        seconds = []
        for _ in range(iterations):
            start = time.perf_counter()
            self._session.run_with_iobinding(binding)
            seconds.append(time.perf_counter() - start)
        return Timing(tuple(seconds))

    def facts(self) -> dict[str, float | int | str]:
        """Ops after optimization by type, and the process's peak memory in MB."""
        peak = host.peak_rss_mb()
        ops = optimized_ops(self._model)
        listing = ", ".join(f"{op} {count}" for op, count in sorted(ops.items()))
        return {"runtime": "ONNX Runtime", "ops_total": sum(ops.values()), "ops": listing, "peak_rss_mb": peak}


def optimized_ops(model: Path) -> Counter[str]:
    """Op types of the graph that ONNX Runtime executes after its optimizations."""
    import onnx
    import onnxruntime as ort

    with tempfile.TemporaryDirectory(prefix="effc-ort-") as folder:
        path = Path(folder) / "optimized.onnx"
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 4
        ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        return Counter(node.op_type for node in onnx.load(str(path), load_external_data=False).graph.node)
