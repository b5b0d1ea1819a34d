"""`effc simplify IN OUT`: a model with fewer nodes and equal outputs, at the opset of the input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from effc.compiler import frontend, ir, metrics, oracle, pipeline
from effc.core import worker
from effc.core.errors import EffcError
from effc.core.files import refuse_existing, staged_file
from effc.core.manifest import Step
from effc.core.progress import Progress
from effc.verbs.check import Shapes, op_counts

_EQUAL_DB = 100.0


@dataclass(frozen=True)
class SimplifyOptions:
    """What to read, where to write, whether to prove that both compute the same."""

    model: Path
    output: Path
    shapes: Shapes
    proof: bool = True
    overwrite: bool = False


@dataclass(frozen=True)
class SimplifyReport:
    """What `effc simplify` prints.

    Attributes:
        before, after: nodes by op.
        opset: the one of the input; `kept` tells whether the output has it too, or the internal one.
        proved: whether the outputs were compared and found equal.
    """

    output: Path
    before: Mapping[str, int]
    after: Mapping[str, int]
    steps: tuple[Step, ...]
    opset: int
    kept: bool
    proved: bool


def simplify(options: SimplifyOptions, progress: Progress | None = None) -> SimplifyReport:
    """Read, simplify, prove, write. Raises BadInput for a bad model or an output that exists."""
    progress = progress or Progress()
    refuse_existing(options.output, overwrite=options.overwrite)
    with progress.stage("simplify"):
        before = _ops_of(options)
        prepared = pipeline.prepare(options.model, options.shapes, proof=options.proof)
    with progress.stage("write"):
        lowered = at_opset(prepared.model, prepared.source.opset)
        with staged_file(options.output) as path:
            ir.save(lowered or prepared.model, path)
    steps = tuple(Step(s.phase, s.step, s.nodes_before, s.nodes_after) for s in prepared.steps)
    after = op_counts(lowered or prepared.model)
    kept = lowered is not None
    return SimplifyReport(options.output, before, after, steps, prepared.source.opset, kept, options.proof)


def at_opset(model: ir.Model, opset: int) -> ir.Model | None:
    """The model at another opset if it can be converted there with equal outputs, else None."""
    if opset == model.opset_imports.get(""):
        return model
    data = ir.to_bytes(model)
    try:
        converted: bytes = worker.call("effc.compiler.upgrade:upgrade", data, opset, stage="opset")
        feeds = [oracle.seeded_feeds(data, 0)]
        before, after = (oracle.evaluate_apart(each, feeds)[0] for each in (data, converted))
    except EffcError:
        return None
    equal = all(_equal(before[name], after[name]) for name in before)
    return ir.from_bytes(converted) if equal else None


def _equal(a: metrics.Array, b: metrics.Array) -> bool:
    return a.shape == b.shape and (np.array_equal(a, b) or metrics.sqnr_db(a, b) > _EQUAL_DB)


def _ops_of(options: SimplifyOptions) -> dict[str, int]:
    original: onnx.ModelProto = frontend.load(options.model, options.shapes).original
    return dict(sorted(Counter(node.op_type for node in original.graph.node).items()))
