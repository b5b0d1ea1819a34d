"""What a user asked for, as frozen dataclasses that travel through the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from effc.core.target import Target

HARDWARE = ("ampere+", "same-capability")
METHODS = ("minmax", "percentile", "entropy", "mse")
IO_MODES = ("onnx", "native")
DEFAULT_METHOD = "mse"
DEFAULT_MIN_SQNR = 50.0


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
class ShapeRange:
    """Dims of one input over one optimization profile: it runs from `min` to `max` and is tuned for `opt`."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


Profile = Mapping[str, ShapeRange]
"""Input name to its dims; inputs of fixed shape need none."""


@dataclass(frozen=True)
class EngineOptions:
    """How TensorRT builds an engine; all that it needs beside the typed ONNX, so it travels in the manifest.

    Attributes:
        workspace_mb: limit of scratch memory in MiB; None leaves the library's.
        level: builder optimization level 0..5; None leaves the library's.
        tf32: whether float32 convolutions and products may round their inputs to TF32.
        weight_streaming: weights may stay in host memory.
        hardware: "" for this GPU, "ampere+" or "same-capability" for engines that other GPUs load too.
        version_compatible: newer TensorRT versions may load the engine.
        refit: weights may be replaced later.
        timeout_s: seconds after which the build is stopped.
        capabilities: GPUs that it is compiled for ahead of time, as in "sm89"; empty for the GPU at hand.
    """

    workspace_mb: int | None = None
    level: int | None = None
    tf32: bool = True
    weight_streaming: bool = False
    hardware: str = ""
    version_compatible: bool = False
    refit: bool = False
    timeout_s: float = 7200.0
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tracker:
    """A tracker that lends devices: `host:port,key`."""

    host: str
    port: int
    key: str


@dataclass(frozen=True)
class Tuning:
    """A measured search for the kernels' tiles.

    Attributes:
        budget_s: seconds after which the ranking decides; what was measured is kept.
        tracker: lends the device to measure on; None is this machine.
    """

    budget_s: float
    tracker: Tracker | None = None


@dataclass(frozen=True)
class BuildOptions:
    """Everything that `effc build` was asked.

    Attributes:
        shapes: input name to dims that fix or override the model's.
        io: "onnx" or "native" inputs and outputs.
        keep_float: globs of node names that stay float.
        reference: whether the artifact holds `reference.npz`.
        proof: whether the simplified model is proved against the original.
        min_sqnr: dB that outputs of float16 targets are to keep; layers stay in float32 for it where data is given.
        profiles: optimization profiles, for targets whose artifacts have them.
        timing_cache: file of measured kernels that engine builds reuse; None is the default place, "" none.
        defer: seal packages in place of artifacts where the target can be finished on another machine.
        tuning: search for tiles, for TVM's targets; None takes what is known and the ranking.
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
    min_sqnr: float = DEFAULT_MIN_SQNR
    reference: bool = True
    proof: bool = True
    profiles: tuple[Profile, ...] = ()
    engine: EngineOptions = EngineOptions()
    timing_cache: str | None = None
    defer: bool = False
    tuning: Tuning | None = None
    overwrite: bool = False
    dry_run: bool = False
    threads: int = 1
