"""What a user asked for, as frozen dataclasses that travel through the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from effc.core.target import Target

METHODS = ("minmax", "percentile", "entropy", "mse")
IO_MODES = ("onnx", "native")
DEFAULT_METHOD = "mse"


@dataclass(frozen=True)
class DataOptions:
    """A data set: `spec` is a .npz, a folder, `module:function` or "random".

    Attributes:
        preprocess: a preprocess spec for folders of images; empty looks for `preprocess.toml`.
        limit: at most this many samples; None takes all.
    """

    spec: str
    preprocess: str = ""
    limit: int | None = None


@dataclass(frozen=True)
class CalibrationOptions:
    """How ranges are found.

    Attributes:
        method: one of METHODS.
        percentile: for "percentile", how much of the histogram's mass is kept, in percent.
        bias_correction: shift each quantized layer's bias by the mean error of its output.
        seed: for `random` data and for sampling.
    """

    data: DataOptions | None = None
    method: str = DEFAULT_METHOD
    percentile: float = 99.99
    bias_correction: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Gates:
    """Limits that turn a finished build into exit code 4.

    Attributes:
        max_drop: top-1 points (0..100) that the artifact may lose against float.
        metric: `module:function` that replaces top-1; takes (outputs, labels), returns a fraction.
    """

    max_drop: float | None = None
    metric: str = ""


@dataclass(frozen=True)
class BuildOptions:
    """Everything that `effc build` was asked.

    Attributes:
        shapes: input name to dims that fix or override the model's.
        io: "onnx" or "native" inputs and outputs.
        keep_float: globs of node names that stay float.
        reference: whether the artifact holds `reference.npz`.
        proof: whether the simplified model is proved against the original.
    """

    model: Path
    targets: tuple[Target, ...]
    out: Path
    shapes: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    calibration: CalibrationOptions = CalibrationOptions()
    evaluation: DataOptions | None = None
    gates: Gates = Gates()
    io: str = "onnx"
    keep_float: tuple[str, ...] = ()
    reference: bool = True
    proof: bool = True
    overwrite: bool = False
    dry_run: bool = False
    threads: int = 1
