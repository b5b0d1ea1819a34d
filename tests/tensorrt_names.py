"""Holds the names that the TensorRT backend uses against a real binding. Run in a child: the binding stays there."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

_LIBRARY, _MEMBER = "Trt", "Member"


def absent(library: ModuleType, described: ModuleType) -> Iterator[str]:
    """What `described`, a module of Protocols, declares and the library has not: names, and methods' parameters."""
    for name, protocol in protocols(described):
        held, prefix = (library, "") if name == _LIBRARY else (getattr(library, name, None), f"{name}.")
        for member in members(protocol):
            if not hasattr(held, member):
                yield f"{prefix}{member}"
            elif reason := misfit(protocol, member, getattr(held, member)):
                yield f"{prefix}{member} {reason}"


def protocols(described: ModuleType) -> list[tuple[str, type]]:
    """The Protocols that a module defines, but for that of an enum's members."""
    found = [(name, value) for name, value in vars(described).items() if isinstance(value, type) and name != _MEMBER]
    return [(n, v) for n, v in found if v.__module__ == described.__name__ and getattr(v, "_is_protocol", False)]


def members(protocol: type) -> list[str]:
    """Annotated attributes and methods; `__version__` is the one dunder name that is the library's own."""
    names = [*protocol.__annotations__, *(name for name, value in vars(protocol).items() if callable(value))]
    return [name for name in names if not name.startswith("_") or name == "__version__"]


def misfit(protocol: type, member: str, found: object) -> str:
    """Why the library's member cannot be used as declared: no enum's, or a method of other parameters."""
    if protocol.__annotations__.get(member) == _MEMBER and not isinstance(found, property):
        return "" if hasattr(found, "name") and hasattr(found, "__int__") else "is no enum's member"
    declared = getattr(protocol, member, None)
    stated = signatures(found)
    if not callable(declared) or not stated:
        return ""
    wanted = list(declared.__annotations__)[:-1]
    fits = any(takes(own, len(wanted)) == wanted for own in stated)
    return "" if fits else f"does not take ({', '.join(wanted)})"


def takes(parameters: Sequence[tuple[str, bool]], count: int) -> list[str]:
    """The first `count` parameters by name, and all behind them that a call cannot leave out."""
    return [name for index, (name, optional) in enumerate(parameters) if index < count or not optional]


def signatures(method: object) -> list[list[tuple[str, bool]]]:
    """(name, whether it has a default) of the parameters behind `self`: docstrings of bindings state each overload."""
    text = getattr(method, "__doc__", None) or ""
    lines = re.findall(r"^(?:\d+\. )?\w+\(self: [\w.]+(.*)\) -> ", text, re.MULTILINE)
    found = [re.findall(r", (\w+): [\w.\[\], |]+?( =|(?=, \w+:|$))", line) for line in lines]
    return [[(name, bool(default)) for name, default in line] for line in found]


def main() -> None:
    """Print, as JSON, what the library argv[1] has not of the modules argv[2:]."""
    library = importlib.import_module(sys.argv[1])
    print(json.dumps({name: sorted(absent(library, importlib.import_module(name))) for name in sys.argv[2:]}))


if __name__ == "__main__":
    main()
