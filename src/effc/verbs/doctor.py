"""`effc doctor`: what this machine has for effc, and the exact line for what it lacks."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from effc import __version__
from effc.backends import base
from effc.core import host

PACKAGES = (
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "onnx-shape-inference",
    "onnxruntime",
    "pillow",
    "rich",
)


@dataclass(frozen=True)
class BackendRow:
    """One backend. `install` is the line that adds it, None where it is here."""

    name: str
    available: bool
    install: str | None
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Diagnosis:
    """What `effc doctor` prints. `missing` names packages of effc itself that are not installed."""

    effc: str
    python: str
    system: str
    cpu: str
    cpu_flags: tuple[str, ...]
    cpus: int
    memory_mb: int | None
    packages: Mapping[str, str]
    missing: tuple[str, ...]
    backends: tuple[BackendRow, ...]


def doctor() -> Diagnosis:
    """Look around. Nothing is changed."""
    packages = host.versions(PACKAGES)
    return Diagnosis(
        effc=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cpu=host.cpu_name(),
        cpu_flags=host.cpu_flags(),
        cpus=len(host.cpus()),
        memory_mb=host.memory_mb(),
        packages=packages,
        missing=tuple(name for name in PACKAGES if name not in packages),
        backends=tuple(_row(backend) for backend in base.find().values()),
    )


def _row(backend: base.Backend) -> BackendRow:
    line = backend.missing()
    return BackendRow(backend.name, line is None, line, backend.versions() if line is None else {})
