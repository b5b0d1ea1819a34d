"""`effc simplify IN OUT`: a model with fewer nodes and equal outputs, at the opset of the input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from effc.compiler import frontend, ir, pipeline
from effc.compiler.proof import Proof
from effc.core.files import refuse_existing, staged_file
from effc.core.manifest import Step
from effc.core.progress import Progress
from effc.verbs.check import Shapes, op_counts
from effc.verbs.opset import at_opset


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
        proof: the comparison of outputs with the original's, null where it was not asked for.
    """

    output: Path
    before: Mapping[str, int]
    after: Mapping[str, int]
    steps: tuple[Step, ...]
    opset: int
    kept: bool
    proof: Proof | None


def simplify(options: SimplifyOptions, progress: Progress | None = None) -> SimplifyReport:
    """Read, simplify, prove, write. Raises BadInput for a bad model or an output that exists."""
    progress = progress or Progress()
    refuse_existing(options.output, overwrite=options.overwrite)
    with progress.stage("read"):
        before = _ops_of(options)
    prepared = pipeline.prepare(options.model, options.shapes, proof=options.proof, progress=progress)
    with progress.stage("write"):
        lowered = at_opset(prepared.model, prepared.source.opset)
        with staged_file(options.output) as path:
            ir.save(lowered or prepared.model, path)
    steps = tuple(Step(s.phase, s.step, s.nodes_before, s.nodes_after) for s in prepared.steps)
    after = op_counts(lowered or prepared.model)
    kept = lowered is not None
    return SimplifyReport(options.output, before, after, steps, prepared.source.opset, kept, prepared.proof)


def _ops_of(options: SimplifyOptions) -> dict[str, int]:
    original: onnx.ModelProto = frontend.load(options.model, options.shapes).original
    return dict(sorted(Counter(node.op_type for node in original.graph.node).items()))
