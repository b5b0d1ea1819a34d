"""`effc simplify IN OUT`: a model with fewer nodes and equal outputs, at the opset of the input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from effc.compiler import ir, protos, stored, thrift, walk
from effc.compiler.bisect import Fault
from effc.compiler.inputs import Dims
from effc.compiler.pipeline import Goal, Prepared, prepare
from effc.compiler.proof import Proof
from effc.compiler.walk import op_counts
from effc.core.files import refuse_existing_file, staged_file
from effc.core.manifest import Step
from effc.core.progress import Progress


@dataclass(frozen=True)
class SimplifyOptions:
    """What to read, where to write and as what, whether to prove that both compute the same."""

    model: Path
    output: Path
    shapes: Mapping[str, Dims]
    goal: Goal = field(default_factory=Goal)
    proof: bool = True
    overwrite: bool = False


@dataclass(frozen=True)
class SimplifyReport:
    """What `effc simplify` prints.

    Attributes:
        before, after: nodes by op, those of branches and loop bodies included and Constant left out.
        bytes_before, bytes_after: of the files, external data included.
        beyond: bytes that the file is larger than `--max-growth` allows, which only a very small one may be.
        opset: of the output.
        switched_off: steps that would have changed what this model computes, or broke on it, each with the reason.
        proof: the comparison of outputs with the original's, null where it was not asked for.
    """

    output: Path
    before: Mapping[str, int]
    after: Mapping[str, int]
    bytes_before: int
    bytes_after: int
    beyond: int
    steps: tuple[Step, ...]
    opset: int
    switched_off: tuple[Fault, ...]
    proof: Proof | None


def simplify(options: SimplifyOptions, progress: Progress | None = None) -> SimplifyReport:
    """Read, simplify, prove, write. Raises BadInput for a bad model or an output that exists."""
    progress = progress or Progress()
    refuse_existing_file(options.output, overwrite=options.overwrite)
    made = prepare(options.model, options.shapes, proof=options.proof, progress=progress, goal=options.goal)
    with progress.stage("write"):
        size = _write(made, options)
    return SimplifyReport(
        output=options.output,
        before=op_counts(protos.everywhere(made.original.graph.node)),
        after=op_counts(walk.everywhere(made.model.graph)),
        bytes_before=made.bytes,
        bytes_after=size,
        beyond=math.ceil(max(0.0, size - _most(made, options))),
        steps=tuple(Step(s.phase, s.step, s.nodes_before, s.nodes_after) for s in made.steps),
        opset=made.model.opset_imports[""],
        switched_off=made.faults,
        proof=made.proof,
    )


def _write(made: Prepared, options: SimplifyOptions) -> int:
    """Write the model, and with less in it where the file would grow too large."""
    most = _most(made, options)
    with staged_file(options.output, overwrite=options.overwrite) as path:
        ir.save(made.model, path)
        if _size(path) > most:
            for _ in thrift.spared(made.model, _tensors(made.original)):
                if stored.size(made.model) <= most:
                    break
            ir.save(made.model, path)
        return _size(path)


def _most(made: Prepared, options: SimplifyOptions) -> float:
    growth = options.goal.growth
    return math.inf if growth is None else made.bytes * (1 + growth)


def _tensors(model: onnx.ModelProto) -> set[str]:
    """The names of all tensors that some node takes or gives."""
    return {name for node in protos.everywhere(model.graph.node) for name in (*node.input, *node.output)}


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in path.parent.iterdir())
