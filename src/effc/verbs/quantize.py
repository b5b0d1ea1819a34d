"""`effc quantize MODEL --calib D -o OUT.onnx`: an ONNX model with Q/DQ by a target's scheme."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from effc import build, stages
from effc.backends import base
from effc.compiler import ir, pipeline
from effc.core.errors import BadInput, EffcError
from effc.core.files import refuse_existing_file, staged_file
from effc.core.manifest import Calibration
from effc.core.options import CalibrationOptions
from effc.core.progress import Progress
from effc.core.target import Target


@dataclass(frozen=True)
class QuantizeOptions:
    """What to quantize, by whose scheme, from which data.

    Attributes:
        target: a quantized target; its ops and its scheme decide.
        keep_float: globs of node names that stay float.
        proof: whether the simplified model is proved against the original first.
    """

    model: Path
    output: Path
    target: Target
    calibration: CalibrationOptions
    shapes: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    keep_float: tuple[str, ...] = ()
    proof: bool = True
    overwrite: bool = False


@dataclass(frozen=True)
class QuantizeReport:
    """What `effc quantize` prints. `precision` is by node name of the legalized float model."""

    output: Path
    target: str
    precision: Mapping[str, str]
    calibration: Calibration

    @property
    def quantized(self) -> int:
        """Nodes that run quantized."""
        return sum(precision != "float32" for precision in self.precision.values())


def quantize(options: QuantizeOptions, progress: Progress | None = None) -> QuantizeReport:
    """Simplify, legalize, calibrate, quantize, write.

    Raises:
        BadInput: a float target, no data, a bad model, or an output that exists.
        UnsupportedOps: the target does not take the model.
    """
    progress = progress or Progress()
    refuse_existing_file(options.output, overwrite=options.overwrite)
    scheme = base.for_target(options.target).scheme(options.target)
    if scheme is None:
        raise BadInput(f"{options.target} is a float target", where="--target", hint="for example ort-int8")
    if options.calibration.data is None:
        raise BadInput("quantization needs calibration data", where="--calib", hint="--calib data.npz")
    prepared = pipeline.prepare(options.model, options.shapes, proof=options.proof, progress=progress)
    legal = stages.legalize(prepared.model, options.target, defer=True)  # what builds from it may be elsewhere
    if isinstance(legal, EffcError):
        raise legal
    stages.check_globs(options.keep_float, [prepared.model, legal.model])
    with progress.stage("calibrate"):
        data = stages.calibrated(prepared.model, options.calibration)
    with progress.stage("quantize"):
        result = stages.quantized(legal, scheme, stages.known(legal, data), options.calibration, options.keep_float)
    with staged_file(options.output, overwrite=options.overwrite) as path:
        ir.save(result.model, path)
    stated = build.stated(options.calibration, data[0])
    return QuantizeReport(options.output, str(options.target), result.precision, stated)
