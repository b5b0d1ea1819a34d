"""Many node tests as one model: built, compiled and run at once, each case's outputs compared by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from conformance import NodeCase, compare
from onnx import compose

from effc import stages
from effc.backends import base
from effc.bench.adapt import Adapter
from effc.compiler import ir, phase, upgrade
from effc.compiler.passes import SIMPLIFY
from effc.compiler.settle import settle
from effc.core.errors import EffcError
from effc.core.manifest import Manifest, Source
from effc.core.target import Target
from effc.core.worker import Worker

LISTS = Path(__file__).parent / "backends" / "conformance" / "merged"


def listed(target: str) -> list[str]:
    """The cases that the target is known to pass: this list only grows."""
    return (LISTS / f"{target}.txt").read_text().split()


def merged(cases: Sequence[NodeCase]) -> ir.Model:
    """The cases side by side, each tensor's name behind its case's."""
    graph = onnx.GraphProto(name="cases")
    for case in cases:
        model = onnx.load_from_string(upgrade.upgrade(case.model.SerializeToString(), ir.INTERNAL_OPSET))
        part = compose.add_prefix(model, f"{case.name}/").graph
        for field in ("node", "initializer", "input", "output", "value_info"):
            getattr(graph, field).extend(getattr(part, field))
    opset = onnx.helper.make_opsetid("", ir.INTERNAL_OPSET)
    proto = onnx.ModelProto(ir_version=10, opset_import=[opset], graph=graph)
    return ir.from_bytes(proto.SerializeToString())


def outputs(cases: Sequence[NodeCase], target: Target, folder: Path, worker: Worker) -> dict[str, np.ndarray]:
    """What the artifact of all cases puts out, built and run in the worker's child."""
    model = merged(cases)
    settle(model, where="cases")
    phase.run(model, SIMPLIFY)
    legal = stages.legalize(model, target)
    if isinstance(legal, EffcError):
        raise legal
    emitted = legal.backend.emit(legal.model, target, base.EmitOptions(child=worker), folder)
    manifest = Manifest("", str(target), "onnx", Source("cases", "", 0), emitted.inputs, emitted.outputs, (), "")
    worker.make("runner", legal.backend.runner(), folder, emitted.main, 1)
    feeds = {f"{case.name}/{name}": array for case in cases for name, array in case.feeds.items()}
    adapter = Adapter.of(manifest)
    return adapter.fetch(worker.method("runner", "run", adapter.feed(feeds)))


def wrong(case: NodeCase, found: dict[str, np.ndarray]) -> str:
    """What is wrong with a case's outputs, empty where nothing is."""
    own = {name: found[f"{case.name}/{name}"] for name in case.expected}
    try:
        compare(case, own)
    except AssertionError as error:
        return str(error).strip()
    odd = [name for name, array in case.expected.items() if own[name].dtype != array.dtype]
    return f"another type: {odd}" if odd else ""
