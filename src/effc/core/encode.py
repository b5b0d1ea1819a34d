"""Reports as JSON: dataclasses become objects, paths and targets text, and what JSON cannot hold null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

from effc.core.target import Target

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]


def to_json(value: object) -> str:
    """Two-space indented JSON in field order, a newline at the end."""
    return json.dumps(plain(value), indent=2, allow_nan=False) + "\n"


def plain(value: object) -> Plain:
    """The value in JSON's own types; infinities and NaN become null. Raises TypeError for anything unknown."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path | Target):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form")
