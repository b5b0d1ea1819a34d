"""JSON back into frozen dataclasses, every field checked against its annotation."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from effc.core.errors import BadInput

T = TypeVar("T")


def record(kind: type[T], value: object, where: str, path: str = "") -> T:
    """The dataclass `kind` from a JSON object.

    Args:
        where: the file that errors name.
        path: the field that `value` stands in, empty at the root.

    Raises:
        BadInput: a field is missing, unknown or of another type; it is named.
    """
    given = _expect(value, dict, where, path)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            raise _wrong(where, _join(path, name), "is not a known field")
    hints = get_type_hints(kind)
    decoded = {name: _value(hints[name], given[name], where, _join(path, name)) for name in given}
    for name, declared in known.items():
        if name not in given and _required(declared):
            raise _wrong(where, _join(path, name), "is missing")
    return kind(**decoded)


def _value(kind: Any, value: object, where: str, path: str) -> Any:
    if is_dataclass(kind):
        return record(kind, value, where, path)  # type: ignore[arg-type]
    origin, args = get_origin(kind), get_args(kind)
    if origin is tuple:
        items = _expect(value, list, where, path)
        return tuple(_value(args[0], item, where, f"{path}[{i}]") for i, item in enumerate(items))
    if origin is Mapping:
        pairs = _expect(value, dict, where, path)
        return {name: _value(args[1], item, where, _join(path, name)) for name, item in pairs.items()}
    return _one_of(args if origin is types.UnionType else (kind,), value, where, path)


def _one_of(kinds: tuple[Any, ...], value: object, where: str, path: str) -> Any:
    """The value as one of the kinds of a union: scalars by exact type, else the union's dataclass."""
    if Any in kinds or type(value) in kinds or (value is None and types.NoneType in kinds):
        return value
    if float in kinds and type(value) is int:
        return float(value)
    compound = next((kind for kind in kinds if is_dataclass(kind)), None)
    if compound is None:
        expected = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
        raise _wrong(where, path, f"should be {expected}, not {_kind(value)}")
    return _value(compound, value, where, path)


def _expect(value: object, kind: type[T], where: str, path: str) -> T:
    if not isinstance(value, kind):
        raise _wrong(where, path, f"should be {_JSON[kind]}, not {_kind(value)}")
    return value


def _required(declared: Field[Any]) -> bool:
    return declared.default is MISSING and declared.default_factory is MISSING


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _wrong(where: str, path: str, what: str) -> BadInput:
    return BadInput(f"the field {path!r} {what}" if path else f"the file {what}", where=where)


_JSON = {dict: "an object", list: "a list", type(None): "null"}


def _kind(value: object) -> str:
    return _JSON.get(type(value), type(value).__name__)
