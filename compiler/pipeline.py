"""Front to end: a file becomes a simplified model, proved equal to what the file holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from effc.compiler import frontend, ir, phase
from effc.compiler.passes import SIMPLIFY
from effc.compiler.proof import Proof, prove
from effc.core.errors import EffcError
from effc.core.manifest import Source
from effc.core.progress import Progress


@dataclass(frozen=True)
class Prepared:
    """A model ready for calibration.

    Attributes:
        original: the file's model with the wanted input dims and nothing else changed.
        steps: every simplification that changed it, in order.
        proof: the comparison with the original, None where it was not asked for.
    """

    model: ir.Model
    source: Source
    original: onnx.ModelProto
    steps: tuple[phase.StepRecord, ...]
    proof: Proof | None


def prepare(
    path: Path,
    shapes: Mapping[str, frontend.Dims] | None = None,
    *,
    proof: bool = True,
    progress: Progress | None = None,
) -> Prepared:
    """Load, simplify, prove.

    Raises BadInput for what is wrong with the file, EffcError when simplification changed an output.
    """
    progress = progress or Progress()
    with progress.stage("simplify"):
        loaded = frontend.load(path, shapes)
        steps = phase.run(loaded.model, SIMPLIFY)
    with progress.stage("prove"):
        proved = _proved(path, loaded) if proof else None
    return Prepared(loaded.model, loaded.source, loaded.original, steps, proved)


def _proved(path: Path, loaded: frontend.Loaded) -> Proof:
    try:
        return prove(loaded.original, loaded.model)
    except EffcError as error:
        raise type(error)(error.what, where=f"{path} {error.where}".strip(), hint=error.hint) from error
