"""Layers of an engine from the JSON of TensorRT's EngineInspector at DETAILED verbosity."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from effc.core.errors import BadInput

_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_TYPES = (
    (re.compile(r"\b(fp8|float8|e4m3)\w*", re.I), "fp8", 1),
    (re.compile(r"\bint8\b", re.I), "int8", 1),
    (re.compile(r"\b(bf16|bfloat16)\b", re.I), "bfloat16", 2),
    (re.compile(r"\b(fp16|half|float16)\b", re.I), "float16", 2),
    (re.compile(r"\bint64\b", re.I), "int64", 8),
    (re.compile(r"\bint32\b", re.I), "int32", 4),
    (re.compile(r"\b(fp32|float|float32)\b", re.I), "float32", 4),
    (re.compile(r"\b(bool|uint8)\b", re.I), "uint8", 1),
)
"""How formats name an element type, in the order in which they are tried; its size in bytes."""
_NARROW = ("fp8", "int8")
_MOVING = frozenset({"reformat", "noop", "shuffle"})


@dataclass(frozen=True)
class Tensor:
    """An input or output of a layer. `dtype` is empty and `size` 0 where the format does not tell them."""

    name: str
    format: str
    dtype: str
    size: int
    dims: tuple[int, ...]

    @property
    def bytes(self) -> int | None:
        """None where a dim or the type is open."""
        return None if not self.size or any(dim < 0 for dim in self.dims) else math.prod(self.dims) * self.size


@dataclass(frozen=True)
class Layer:
    """One layer of the engine. `nodes` are the ONNX nodes that it does; `ms` is None without a profile."""

    name: str
    kind: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    nodes: tuple[str, ...]
    tactic: str
    ms: float | None

    @property
    def reformats(self) -> bool:
        """Whether it only changes type or layout."""
        return self.kind.lower() in _MOVING or self.name.startswith("Reformatting CopyNode")

    @property
    def precision(self) -> str:
        """What it computes in: 8 bits where it reads them, else the type of its first output."""
        read = [tensor.dtype for tensor in self.inputs]
        narrow = next((name for name in _NARROW if name in read), "")
        made = next((tensor.dtype for tensor in self.outputs if tensor.dtype), "")
        return narrow or made or next((name for name in read if name), "unknown")


def read(path: Path, measured: Mapping[str, float] | None = None) -> tuple[Layer, ...]:
    """The layers, with times where a profile lies in the file (`Profile`) or beside it (`profile.json`).

    Args:
        measured: milliseconds by layer name, measured now, which overrule both.

    Raises BadInput for a file that is no layer information, or one without details.
    """
    found = _load(path)
    layers = found.get("Layers") if isinstance(found, dict) else None
    if not isinstance(layers, list):
        raise BadInput("it holds no `Layers`, so it is not TensorRT's layer information", where=str(path), hint=_HINT)
    if not layers or not all(isinstance(entry, dict) for entry in layers):
        raise BadInput("it names its layers without details", where=str(path), hint=_HINT)
    beside = path.with_name("profile.json")
    try:
        times = _times(found.get("Profile") or (_load(beside) if beside.is_file() else []))
        return tuple(_layer(entry, {**times, **(measured or {})}) for entry in layers)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"dims or times in it are no numbers ({error})", where=str(path), hint=_HINT) from None


_HINT = "build the engine with profiling verbosity DETAILED and save EngineInspector's JSON of it"


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"it is not readable JSON ({error})", where=str(path), hint=_HINT) from None


def _times(entries: Any) -> dict[str, float]:
    """Milliseconds by layer name, from the entries of a profile: `averageMs`, else `timeMs`."""
    rows = [entry for entry in entries if isinstance(entry, dict) and "name" in entry] if entries else []
    return {str(row["name"]): float(row.get("averageMs") or row.get("timeMs") or 0.0) for row in rows}


def _layer(entry: Mapping[str, Any], times: Mapping[str, float]) -> Layer:
    name = str(entry.get("Name", "?"))
    inputs, outputs = (tuple(_tensor(t) for t in _dicts(entry.get(side))) for side in ("Inputs", "Outputs"))
    nodes = tuple(dict.fromkeys(_NODE.findall(str(entry.get("Metadata", "")))))
    kind, tactic = str(entry.get("LayerType", "?")), str(entry.get("TacticName", ""))
    return Layer(name, kind, inputs, outputs, nodes, tactic, times.get(name))


def _dicts(value: Any) -> Sequence[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _tensor(entry: Mapping[str, Any]) -> Tensor:
    told = " ".join(str(entry[key]) for key in ("Format/Datatype", "Format", "Datatype") if key in entry)
    dtype, size = next(((name, size) for pattern, name, size in _TYPES if pattern.search(told)), ("", 0))
    dims = entry.get("Dimensions")
    return Tensor(str(entry.get("Name", "?")), told, dtype, size, tuple(int(d) for d in dims or ()))
