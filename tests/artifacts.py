"""Small graphs built by the real pipeline, without files that a user sees, and run in one child."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from graphs import Graph
from numpy.typing import NDArray

from effc import stages
from effc.backends import base
from effc.bench.adapt import Adapter
from effc.calibration.quantize import Quantized
from effc.compiler import ir, oracle, phase, upgrade
from effc.compiler.passes import SIMPLIFY
from effc.compiler.settle import settle
from effc.core.errors import EffcError
from effc.core.manifest import TYPED_NAME, Manifest, Source
from effc.core.options import CalibrationOptions, DataOptions
from effc.core.target import Target
from effc.core.worker import Worker

Arrays = dict[str, NDArray[np.generic]]
SAMPLES = 64

OWN = ("", "x86")
"""Devices that are this machine; for others an emulator would be needed."""


@dataclass
class Made:
    """An emitted graph: its folder, interface, original, and, where quantized, its Q/DQ model."""

    worker: Worker
    target: Target
    folder: Path
    emitted: base.Emitted
    original: onnx.ModelProto
    quantized: Quantized | None

    def main_bytes(self) -> bytes:
        """The emitted file."""
        return (self.folder / self.emitted.main).read_bytes()

    def oracle(self, feeds: Arrays) -> Arrays:
        """The original's outputs."""
        return oracle.Session(self.original).run(feeds)

    def run(self, feeds: Arrays) -> Arrays:
        """The artifact's outputs, by the ONNX names."""
        source = Source("graph", "", 0)
        adapter = Adapter.of(
            Manifest("", str(self.target), "onnx", source, self.emitted.inputs, self.emitted.outputs, (), "")
        )
        backend = base.for_target(self.target)
        if isinstance(backend, base.Sealing) and backend.unrunnable(self.target) is not None:
            self.worker.make("runner", "effc.bench.typed:TypedRunner", self.folder, TYPED_NAME, 1)
        else:
            self.worker.make("runner", backend.runner(), self.folder, self.emitted.main, 1)
        return adapter.fetch(self.worker.method("runner", "run", adapter.feed(feeds)))

    def steps_apart(self, feeds: Arrays) -> float:
        """The largest difference to the Q/DQ model in ONNX Runtime, in steps of the output's scale."""
        assert self.quantized is not None
        expected, found = oracle.Session(self.quantized.model).run(feeds)["y"], self.run(feeds)["y"]
        scale = self.quantized.qparams["y"].scale if "y" in self.quantized.qparams else 1 / 256
        return float(np.max(np.abs(expected.astype(np.float64) - found))) / scale - 1e-3


def building() -> list[base.Backend]:
    """The backends that can build on this machine."""
    found = base.find().values()
    return [b for b in found if b.missing() is None and not (isinstance(b, base.Sealing) and b.unbuildable())]


def running() -> list[Target]:
    """The targets whose artifacts run on this machine itself."""
    found = [(backend, Target.parse(info.name)) for backend in building() for info in backend.targets()]
    own = [(backend, target) for backend, target in found if target.device in OWN]
    return [target for backend, target in own if backend.unrunnable(target) is None]


class Artifacts:
    """Builds graphs for targets, each once, and holds the child that runs them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._made = folder, dict[tuple[str, str], Made]()
        self._worker = Worker("kernels", deadline=60)

    def __enter__(self) -> Artifacts:
        return self

    def __exit__(self, *raised: object) -> None:
        self._worker.close()

    def build(self, graph: Graph, target: Target, *, fresh: bool = False) -> Made:
        """The graph for the target; `fresh` builds it again."""
        key = (graph.name, str(target))
        if fresh or key not in self._made:
            self._made[key] = self._build(graph, target, self._folder / f"{graph.name}-{target.folder}")
        return self._made[key]

    @staticmethod
    def legal(graph: Graph, target: Target) -> stages.Legal:
        """The simplified graph in the target's ops. Raises UnsupportedOps."""
        model = ir.from_bytes(upgrade.upgrade(graph.proto().SerializeToString(), ir.INTERNAL_OPSET))
        settle(model, where=graph.name)
        phase.run(model, SIMPLIFY)
        legal = stages.legalize(model, target)
        if isinstance(legal, EffcError):
            raise legal
        return legal

    def _build(self, graph: Graph, target: Target, folder: Path) -> Made:
        folder.mkdir(exist_ok=True)
        legal = self.legal(graph, target)
        quantized = self._quantize(graph, legal, folder)
        typed = stages.Typed(legal.model if quantized is None else quantized.model)
        narrowing = legal.backend.narrowing(target)
        if narrowing is not None:
            typed = stages.narrowed(typed, narrowing, None, ())
        sealing = isinstance(legal.backend, base.Sealing)
        if sealing:
            ir.save(typed.model, folder / TYPED_NAME)
        options = base.EmitOptions(timing_cache="", child=None if sealing else self._worker)
        emitted = legal.backend.emit(typed.model, target, options, folder)
        return Made(self._worker, target, folder, emitted, graph.proto(), quantized)

    @staticmethod
    def _quantize(graph: Graph, legal: stages.Legal, folder: Path) -> Quantized | None:
        scheme = legal.backend.scheme(legal.target)
        if scheme is None:
            return None
        np.savez(folder / "calib.npz", **graph.samples(SAMPLES, seed=11))
        options = CalibrationOptions(DataOptions(str(folder / "calib.npz")), method="minmax", bias_correction=False)
        known = stages.known(legal, stages.calibrated(legal.model, options))
        return stages.quantized(legal, scheme, known, options, ())
