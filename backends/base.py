"""The backend contract. A backend is a folder whose `backend.py` defines `BACKEND`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

import effc.backends
from effc.core.errors import BackendMissing, BadInput, Refusal
from effc.core.manifest import TensorInfo
from effc.core.target import Target

if TYPE_CHECKING:
    from effc.calibration.scheme import Scheme
    from effc.compiler import ir
    from effc.compiler.phase import Phase

Array = NDArray[np.generic]
Feeds = Mapping[str, Array]


@dataclass(frozen=True)
class TargetInfo:
    """A target that a backend builds, for `effc targets`."""

    name: str
    summary: str


@dataclass(frozen=True)
class EmitOptions:
    """What emission may vary.

    Attributes:
        io: "onnx" keeps the ONNX model's names, dtypes and layout; "native" gives the backend's own.
    """

    io: str = "onnx"


@dataclass(frozen=True)
class Emitted:
    """What `emit` wrote.

    Attributes:
        files: names of the files written into the folder, the main one first.
        inputs, outputs: the artifact's own interface.
        precision: node name to precision, where mixed.
    """

    files: tuple[str, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    precision: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """Seconds of each call of one `measure`."""

    seconds: tuple[float, ...]


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

    def legalize(self, target: Target) -> tuple[Phase, ...]:
        """Float-to-float phases that put the model into the ops that the target has."""

    def support(self, model: ir.Model, target: Target) -> tuple[Refusal, ...]:
        """Every node of a legalized (not yet quantized) model that the target cannot take."""

    def emit(self, model: ir.Model, target: Target, options: EmitOptions, folder: Path) -> Emitted:
        """Write the artifact's files into `folder`. The model is legalized and, if quantized, has Q/DQ."""

    def runner(self) -> str:
        """`module:Class` of the Runner; it is made in a child with (artifact folder, main file, threads)."""


@cache
def find() -> Mapping[str, Backend]:
    """Backends by name: each sub-package of `effc.backends` with a `backend` module."""
    found: dict[str, Backend] = {}
    for entry in sorted(pkgutil.iter_modules(effc.backends.__path__), key=lambda e: e.name):
        if entry.ispkg:
            backend: Backend = importlib.import_module(f"effc.backends.{entry.name}.backend").BACKEND
            found[backend.name] = backend
    return found


def for_target(target: Target) -> Backend:
    """The backend that builds `target`. Raises BadInput for a target that nobody builds."""
    backend = find().get(target.backend)
    if backend is None or target.base not in {info.name for info in backend.targets()}:
        known = ", ".join(info.name for b in find().values() for info in b.targets())
        raise BadInput(f"no backend builds {target}", where="--target", hint=f"known targets: {known}")
    return backend


def require(backend: Backend) -> None:
    """Raise BackendMissing with the install line when the backend's libraries are not here."""
    line = backend.missing()
    if line is not None:
        raise BackendMissing(f"the {backend.name} backend is not installed", hint=line)
