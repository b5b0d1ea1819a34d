"""ONNX's generated node tests as a conformance suite: each model is built for a target, run, and compared.

Integer inputs (shapes, axes, parameters) and weights are given as constants, as deployed models have them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from effc.backends import base
from effc.bench.adapt import Adapter
from effc.compiler import ir, phase, upgrade
from effc.compiler.passes import SIMPLIFY
from effc.compiler.settle import settle
from effc.core.errors import UnsupportedOps
from effc.core.manifest import Manifest, Source
from effc.core.target import Target
from effc.core.worker import Worker

WEIGHTED = frozenset({"BatchNormalization", "Conv", "ConvTranspose", "Gemm", "PRelu"})
LISTS = Path(__file__).parent / "backends" / "conformance"


@dataclass(frozen=True)
class NodeCase:
    """A model with one set of inputs and expected outputs."""

    name: str
    model: onnx.ModelProto
    feeds: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    rtol: float
    atol: float


@cache
def cases() -> dict[str, NodeCase]:
    """Every generated node test whose inputs and outputs are tensors, integer inputs made constant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found = collect_testcases(None)
    return {case.name: made for case in found if (made := _case(case)) is not None}


def _case(case: object) -> NodeCase | None:
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    inputs, outputs = case.data_sets[0]
    arrays = [*inputs, *outputs]
    if not all(isinstance(a, np.ndarray) and a.dtype.kind in "fiub" and a.dtype.itemsize > 0 for a in arrays):
        return None
    named = dict(zip([i.name for i in model.graph.input], inputs, strict=False))
    floats = [name for name, array in named.items() if array.dtype.kind == "f"]
    weights = floats[1:] if model.graph.node[0].op_type in WEIGHTED else []
    for name, array in named.items():
        if name in weights or (array.dtype.kind in "iu" and floats):
            model.graph.initializer.append(numpy_helper.from_array(array, name))
    kept = [i for i in model.graph.input if i.name not in {t.name for t in model.graph.initializer}]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    expected = dict(zip([o.name for o in model.graph.output], outputs, strict=False))
    return NodeCase(case.name, model, {i.name: named[i.name] for i in kept}, expected, case.rtol, case.atol)


def legalized(case: NodeCase, target: Target) -> ir.Model:
    """The case's model in the target's ops. Raises UnsupportedOps where the target refuses it."""
    model = ir.from_bytes(upgrade.upgrade(case.model.SerializeToString(), ir.INTERNAL_OPSET))
    settle(model, where=case.name)
    phase.run(model, SIMPLIFY)
    backend = base.for_target(target)
    phase.run(model, backend.legalize(target))
    refusals = backend.support(model, target)
    if refusals:
        raise UnsupportedOps(str(target), refusals)
    return model


def build(case: NodeCase, target: Target, folder: Path) -> Manifest:
    """Compile the case's model without a proof. Raises UnsupportedOps where the target refuses it."""
    model, backend = legalized(case, target), base.for_target(target)
    emitted = backend.emit(model, target, base.EmitOptions(), folder)
    source = Source(case.name, "", 0)
    return Manifest("", str(target), "onnx", source, emitted.inputs, emitted.outputs, (), "")


class Bench:
    """One child that runs case after case; a crash ends it, and the next case starts another."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def run(self, case: NodeCase, target: Target, folder: Path) -> dict[str, np.ndarray]:
        """Build the case and run it in the child."""
        manifest = build(case, target, folder)
        backend = base.for_target(target)
        adapter = Adapter.of(manifest)
        if self._worker is None:
            self._worker = Worker("conformance", deadline=60)
        try:
            main = next(p.name for p in folder.iterdir() if p.name.startswith("model."))
            self._worker.make("runner", backend.runner(), folder, main, 1)
            outputs = self._worker.method("runner", "run", adapter.feed(case.feeds))
        except Exception:
            self.close()
            raise
        return adapter.fetch(outputs, tuple(case.expected))

    def close(self) -> None:
        """End the child."""
        if self._worker is not None:
            self._worker.close()
        self._worker = None


def listed(target: str) -> list[str]:
    """The cases that the target is known to pass: this list only grows."""
    return (LISTS / f"{target}.txt").read_text().split()


def compare(case: NodeCase, outputs: dict[str, np.ndarray]) -> None:
    """Raise AssertionError where an output differs by more than the case's own tolerances."""
    for name, expected in case.expected.items():
        np.testing.assert_allclose(outputs[name], expected, rtol=max(case.rtol, 1e-4), atol=max(case.atol, 1e-5))


def sweep(target: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Every case with its outcome: "passed", "refused" or what went wrong."""
    bench = Bench()
    for number, case in enumerate(cases().values()):
        place = folder / str(number)
        place.mkdir()
        try:
            compare(case, bench.run(case, Target.parse(target), place))
            yield case.name, "passed"
        except UnsupportedOps as error:
            yield case.name, f"refused: {error.refusals[0]}"
        except (Exception, AssertionError) as error:
            yield case.name, f"failed: {type(error).__name__} {str(error).strip()[:300]}"
    bench.close()
