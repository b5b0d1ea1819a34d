"""The manifest: what an artifact is, from what, by what, and what was measured of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from effc.core.errors import BadInput
from effc.core.files import sha256

SCHEMA = 1
FILE_NAME = "manifest.json"
MEASURED_NAME = "measured.json"
REFERENCE_NAME = "reference.npz"
QUANTIZED_NAME = "quantized.onnx"


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of the artifact. Dims are integers or symbol names."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    layout: str = ""
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Source:
    """The ONNX model that the artifact was built from."""

    name: str
    sha256: str
    opset: int


@dataclass(frozen=True)
class FileInfo:
    """A file of the artifact folder."""

    path: str
    sha256: str
    bytes: int

    @classmethod
    def of(cls, folder: Path, name: str) -> FileInfo:
        """Hash and size of `folder/name`."""
        return cls(name, sha256(folder / name), (folder / name).stat().st_size)


@dataclass(frozen=True)
class Step:
    """A pass that changed the graph."""

    phase: str
    step: str
    nodes_before: int
    nodes_after: int


@dataclass(frozen=True)
class Calibration:
    """How ranges were found."""

    data_sha256: str
    samples: int
    method: str
    seed: int
    data: str = ""
    bias_correction: bool = False


@dataclass(frozen=True)
class OutputError:
    """One output of the artifact against the float original; infinite SQNR (equal) is null in JSON."""

    name: str
    max_abs: float
    sqnr_db: float | None
    cosine: float
    kl: float


@dataclass(frozen=True)
class Top1:
    """Top-1 accuracy on true labels, fractions 0..1."""

    float: float
    artifact: float
    n: int


@dataclass(frozen=True)
class Verification:
    """The artifact compared with the float original."""

    outputs: tuple[OutputError, ...]
    samples: int
    agreement: float | None = None
    top1: Top1 | None = None
    of: str = "artifact"
    host: str = "native"
    data: str = ""


@dataclass(frozen=True)
class Manifest:
    """`manifest.json` of an artifact folder."""

    effc: str
    target: str
    io: str
    source: Source
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    files: tuple[FileInfo, ...]
    steps: tuple[Step, ...] = ()
    calibration: Calibration | None = None
    precision: Mapping[str, str] = field(default_factory=dict)
    verification: Verification | None = None
    toolchain: Mapping[str, str] = field(default_factory=dict)
    profiles: tuple[Mapping[str, Any], ...] = ()
    schema: int = SCHEMA

    def to_json(self) -> str:
        """Deterministic JSON, keys sorted, two-space indent, a newline at the end."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, allow_nan=False) + "\n"
