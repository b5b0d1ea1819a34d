"""What an engine computes, run as ONNX on the CPU: float32 kernels, each result rounded to the type that is stated."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from effc.backends.base import Feeds
from effc.compiler import ir
from effc.compiler.oracle import Session
from effc.compiler.widen import NARROW, widen
from effc.core import host
from effc.core.errors import BadInput

Array = NDArray[np.generic]


class TypedRunner:
    """`backends.base.Runner` of a typed ONNX model. It proves numbers; it is no measure of speed.

    Raises BadInput when the file is not there or is no model, EffcError when nothing here can run it.
    """

    def __init__(self, folder: Path, file: str, threads: int) -> None:
        self._where = str(folder / file)
        model = ir.load(folder / file)
        self._dtypes = {v.name: ir.numpy_dtype(v) for v in (*model.graph.inputs, *model.graph.outputs)}
        self._narrow = {v.name for v in (*model.graph.inputs, *model.graph.outputs) if v.dtype in NARROW}
        self._session = Session(widen(model), threads=threads)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """One inference; outputs in the typed model's own types."""
        wide = {name: array.astype(np.float32) if name in self._narrow else array for name, array in feeds.items()}
        return {name: self._typed(name, array) for name, array in self._session.run(wide).items()}

    def measure(self, feeds: Feeds, iterations: int) -> NoReturn:
        """Raises BadInput: these are not the kernels that the engine runs."""
        raise BadInput(
            "a typed ONNX model on the CPU says nothing about the engine's speed",
            where=self._where,
            hint="run `effc bench` on the machine with the GPU",
        )

    def facts(self) -> dict[str, float | int | str]:
        """The runtime and this process's peak memory."""
        return {"runtime": "ONNX Runtime (typed ONNX)", "peak_rss_mb": host.peak_rss_mb()}

    def _typed(self, name: str, array: Array) -> Array:
        dtype = self._dtypes[name]
        return array if dtype is None else array.astype(dtype, copy=False)
