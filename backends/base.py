"""The backend contract. A backend is a folder whose `backend.py` defines `BACKENDS`, one for each target family."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

import effc.backends
from effc.core.artifact import Artifact
from effc.core.errors import BackendMissing, BadInput, Caution, Refusal
from effc.core.manifest import TensorInfo
from effc.core.options import EngineOptions, Profile, Tuning
from effc.core.progress import Progress
from effc.core.target import Target
from effc.core.worker import Worker

if TYPE_CHECKING:
    from effc.backends.explanation import Explanation
    from effc.calibration.scheme import Scheme
    from effc.compiler import ir
    from effc.compiler.passes.precision import Narrowing
    from effc.compiler.phase import Phase

Array = NDArray[np.generic]
Feeds = Mapping[str, Array]


@dataclass(frozen=True)
class TargetInfo:
    """A target that a backend builds, for `effc targets`.

    Attributes:
        suffixes: what may stand behind the colon, several joined by `+`; none for most targets.
    """

    name: str
    summary: str
    suffixes: tuple[str, ...] = ()


@dataclass(frozen=True)
class EmitOptions:
    """What emission may vary.

    Attributes:
        io: "onnx" keeps the ONNX model's names, dtypes and layout; "native" gives the backend's own.
        engine, profiles, timing_cache: for TensorRT; see `core.options`.
        defer: write all but the main file, which a `Sealing` backend's `finish` makes elsewhere.
        tuning: search for tiles, for TVM.
        progress: told how far a long emission is.
        child: where the library is to work: what a `Sealing` backend started in advance, or one that serves several
            emissions; without it, a child of its own.
    """

    io: str = "onnx"
    engine: EngineOptions = field(default_factory=EngineOptions)
    profiles: tuple[Profile, ...] = ()
    timing_cache: str | None = None
    defer: bool = False
    tuning: Tuning | None = None
    progress: Progress = field(default_factory=Progress)
    child: Worker | None = None


@dataclass(frozen=True)
class Emitted:
    """What `emit` wrote.

    Attributes:
        main: name of the file that the runtime loads.
        files: names of the files written into the folder; `main` is missing among them where emission was deferred.
        inputs, outputs: the artifact's own interface.
        precision: node name to precision, where mixed.
        profiles, engine: what an engine was, or is to be, built with.
        toolchain: what shaped it beside the libraries, such as the CPU that it is for.
    """

    main: str
    files: tuple[str, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    precision: Mapping[str, str] = field(default_factory=dict)
    profiles: tuple[Profile, ...] = ()
    engine: EngineOptions | None = None
    toolchain: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """Seconds of each call of one `measure`.

    Attributes:
        seconds: on the host's clock, from the call to its return; on a GPU without the copies.
        gpu: between events on the GPU, where there is one.
        copies: inputs to the device and outputs back, where there is one.
    """

    seconds: tuple[float, ...]
    gpu: tuple[float, ...] = ()
    copies: tuple[float, ...] = ()


class Runner(Protocol):
    """Runs one artifact. Lives in a child process; everything that passes is plain data."""

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """One inference on a batch, outputs by the artifact's names."""

    def measure(self, feeds: Feeds, iterations: int) -> Timing:
        """`iterations` timed inferences on the same feeds, inputs set and outputs left in place."""

    def facts(self) -> dict[str, float | int | str]:
        """What the runtime tells: op counts, delegated share, versions, peak RSS in MB as `peak_rss_mb`."""


class Backend(Protocol):
    """What a backend declares and does. Nothing heavy is imported until `emit` or a runner needs it."""

    name: str

    def targets(self) -> tuple[TargetInfo, ...]:
        """Every target that it can build."""

    def missing(self) -> str | None:
        """The exact line that installs what is missing here, or None when all is there."""

    def versions(self) -> dict[str, str]:
        """Versions of the libraries that shape the artifact, for the manifest's toolchain."""

    def scheme(self, target: Target) -> Scheme | None:
        """The quantization scheme, None for float targets."""

    def narrowing(self, target: Target) -> Narrowing | None:
        """How floats become float16 or bfloat16 in the graph itself, None where they stay float32."""

    def legalize(self, target: Target) -> tuple[Phase, ...]:
        """Float-to-float phases that put the model into the ops that the target has."""

    def support(self, model: ir.Model, target: Target) -> tuple[Refusal, ...]:
        """Every node of a legalized (not yet quantized) model that the target cannot take."""

    def emit(self, model: ir.Model, target: Target, options: EmitOptions, folder: Path) -> Emitted:
        """Write the artifact's files into `folder`. The model is legalized and, if quantized, has Q/DQ."""

    def runner(self) -> str:
        """`module:Class` of the Runner; it is made in a child with (artifact folder, main file, threads)."""

    def explain(self, artifact: Artifact, feeds: Feeds | None) -> Explanation:
        """Which layer runs in which precision, as the runtime, or where it cannot run the graph, tells.

        `feeds` are sample inputs in the artifact's own form, for times; None where it holds none.
        """

    def unrunnable(self, target: Target) -> str | None:
        """Why no artifact of the target can run on this machine (no GPU, say), None where they can."""


@runtime_checkable
class Sealing(Protocol):
    """A backend whose artifacts hold `typed.onnx`, what they compute, and can be finished on another machine.

    The build writes `typed.onnx` into the folder before `emit`.
    """

    def unbuildable(self) -> str | None:
        """Why this machine cannot make the main file although the libraries are here, None where it can."""

    def check(self, model: ir.Model, target: Target, options: EmitOptions) -> None:
        """Raise EffcError for options that the target does not take for the legalized model; nothing is written."""

    def child(self, folder: Path, target: Target, options: EmitOptions) -> Worker:
        """Start the child in which `finish` works, so that it loads its libraries while the model is being typed."""

    def finish(self, folder: Path, target: Target, options: EmitOptions) -> tuple[str, ...]:
        """Make the main file from `typed.onnx`; names of the files written, the main one first."""


@runtime_checkable
class Cautious(Protocol):
    """A backend that has slow kernels beside its fast ones."""

    def cautions(self, model: ir.Model, target: Target) -> tuple[Caution, ...]:
        """Every node of a legalized model that the target takes with a slow kernel; no library is needed.

        What stays in float32 in a quantized or narrow target is not among them: scheme and narrowing tell that.
        """


@cache
def find() -> Mapping[str, Backend]:
    """Backends by name: those that the `backend` module of each sub-package of `effc.backends` defines."""
    found: dict[str, Backend] = {}
    for entry in sorted(pkgutil.iter_modules(effc.backends.__path__), key=lambda e: e.name):
        if entry.ispkg:
            module = importlib.import_module(f"effc.backends.{entry.name}.backend")
            found.update({backend.name: backend for backend in module.BACKENDS})
    return found


def for_target(target: Target) -> Backend:
    """The backend that builds `target`. Raises BadInput for a target that nobody builds."""
    backend = find().get(target.backend)
    info = next((info for info in backend.targets() if info.name == target.base), None) if backend else None
    if backend is None or info is None:
        known = ", ".join(info.name for b in find().values() for info in b.targets())
        raise BadInput(f"no backend builds {target}", where="--target", hint=f"known targets: {known}")
    unknown = [suffix for suffix in target.suffixes if suffix not in info.suffixes]
    if unknown:
        hint = f"it takes {', '.join(info.suffixes)}" if info.suffixes else f"write {target.base}"
        raise BadInput(f"{target.base} knows no {'+'.join(unknown)}", where="--target", hint=hint)
    return backend


def require(backend: Backend) -> None:
    """Raise BackendMissing with the install line when the backend's libraries, or what they need, are not here."""
    line, elsewhere = backend.missing(), "--defer seals a package that another machine finishes"
    if line is not None:
        hint = f"{line}; or {elsewhere}" if isinstance(backend, Sealing) else line
        raise BackendMissing(f"the {backend.name} backend is not installed", hint=hint)
    if isinstance(backend, Sealing) and (reason := backend.unbuildable()) is not None:
        raise BackendMissing(f"the {backend.name} backend cannot build here: {reason}", hint=elsewhere)
