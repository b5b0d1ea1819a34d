"""The manifest: what an artifact is, from what, by what, and what was measured of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeAlias

from effc.core import decode
from effc.core.errors import BadInput
from effc.core.files import sha256
from effc.core.options import EngineOptions, ShapeRange

SCHEMA = 2
FILE_NAME = "manifest.json"
MEASURED_NAME = "measured.json"
REFERENCE_NAME = "reference.npz"
QUANTIZED_NAME = "quantized.onnx"
TYPED_NAME = "typed.onnx"
STATISTICS_NAME = "statistics.npz"

Fraction: TypeAlias = float


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

    float: Fraction
    artifact: Fraction
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
    """`manifest.json` of an artifact folder.

    Attributes:
        main: name of the file that the runtime loads.
        sealed: whether `main` is still to be made, on a machine that has what it needs.
        sealing: what the typed ONNX gave when the package was sealed, once `verification` is the artifact's own.
        precision: node name to the precision that it runs in, where the artifact mixes several.
        kept: node name to the reason why it was left in float32.
        profiles: optimization profiles, each input name to the dims that it covers.
        engine: how TensorRT builds `main`; None for other targets.
    """

    effc: str
    target: str
    io: str
    source: Source
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    files: tuple[FileInfo, ...]
    main: str
    sealed: bool = False
    steps: tuple[Step, ...] = ()
    calibration: Calibration | None = None
    precision: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    verification: Verification | None = None
    sealing: Verification | None = None
    toolchain: Mapping[str, str] = field(default_factory=dict)
    profiles: tuple[Mapping[str, ShapeRange], ...] = ()
    engine: EngineOptions | None = None
    schema: int = SCHEMA

    def to_json(self) -> str:
        """Deterministic JSON, keys sorted, two-space indent, a newline at the end."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, allow_nan=False) + "\n"

    def write(self, folder: Path, seconds: Mapping[str, float]) -> None:
        """Put it into an artifact folder, and beside it what was timed: seconds by stage."""
        (folder / FILE_NAME).write_text(self.to_json(), encoding="utf-8")
        timed = json.dumps({"stages_s": dict(seconds)}, indent=2) + "\n"
        (folder / MEASURED_NAME).write_text(timed, encoding="utf-8")

    @classmethod
    def from_json(cls, text: str, where: str = FILE_NAME) -> Manifest:
        """The inverse of `to_json`; errors name `where` and the field.

        Raises:
            BadInput: not JSON, another schema, or a field that is missing, unknown or mistyped.
        """
        try:
            raw = json.loads(text)
        except json.JSONDecodeError as error:
            raise BadInput(f"it is not JSON ({error})", where=where, hint="build the artifact again") from None
        schema = raw.get("schema", SCHEMA) if isinstance(raw, dict) else SCHEMA
        if schema != SCHEMA:
            hint = "use the version of effc that built it, or build it again"
            raise BadInput(f"its schema is {schema}, this version reads {SCHEMA}", where=where, hint=hint)
        return decode.record(cls, raw, where)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of an artifact folder. Raises BadInput where there is none or it is damaged."""
        path = folder / FILE_NAME
        try:
            return cls.from_json(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError):
            hint = "give a folder that `effc build` wrote, such as out/tflite-int8"
            raise BadInput("it is not an artifact: no readable manifest.json", where=str(folder), hint=hint) from None
