"""`effc targets`: what can be built, and what is missing for the rest."""

from __future__ import annotations

from dataclasses import dataclass

from effc.backends import base


@dataclass(frozen=True)
class TargetRow:
    """One target. `install` is the line that makes it available, None where it is."""

    name: str
    backend: str
    summary: str
    available: bool
    install: str | None


@dataclass(frozen=True)
class TargetListing:
    """What `effc targets` prints."""

    targets: tuple[TargetRow, ...]


def targets() -> TargetListing:
    """Every target of every backend."""
    rows: list[TargetRow] = []
    for backend in base.find().values():
        line = backend.missing()
        rows += [TargetRow(t.name, backend.name, t.summary, line is None, line) for t in backend.targets()]
    return TargetListing(tuple(rows))
