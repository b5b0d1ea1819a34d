"""How a schedule gets its tile: the first of the ranking, or what a database of measured ones says. Imports no TVM."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from effc.backends.tvm.cpu import Cpu
from effc.core.cache import cache_folder
from effc.core.errors import BadInput
from effc.core.files import write_atomic

if TYPE_CHECKING:
    from effc.backends.tvm.ops.table import Family, Site
    from effc.backends.tvm.plan.group import Group
    from effc.backends.tvm.schedules.nest import Kernel

T = TypeVar("T")
SCHEMA = 1
SHIPPED = Path(__file__).parent / "measured"
"""Databases that come with the package, one for each kind of vector unit: its width and dot product."""


class Choices(Protocol):
    """Chooses among candidates, the best ranked first."""

    def choose(self, workload: str, candidates: Sequence[T]) -> T:
        """One of the candidates for a workload: its op, shapes, dtypes and attributes in words."""


Lowering = Callable[["Family", "Group", "Site"], "Kernel"]
"""Makes a group's kernel, having decided its tile."""


class Ranking:
    """The first of the ranking."""

    def choose(self, workload: str, candidates: Sequence[T]) -> T:
        """The first."""
        del workload
        return candidates[0]


@dataclass
class Database:
    """What was measured on one CPU: the fastest candidate of each workload, in words.

    Attributes:
        shipped: rows that came with the package.
        place: the user's own file.
        own: its rows, which count before the shipped ones.
    """

    shipped: Mapping[str, str]
    place: Path
    own: dict[str, str] = field(default_factory=dict)

    def __contains__(self, workload: str) -> bool:
        return workload in self.own or workload in self.shipped

    def choose(self, workload: str, candidates: Sequence[T]) -> T:
        """The measured one where it is known and still a candidate, else the first of the ranking."""
        wanted = self.own.get(workload, self.shipped.get(workload))
        return next((c for c in candidates if str(c) == wanted), candidates[0])

    def learn(self, workload: str, choice: str) -> None:
        """Keep a row, at once, so that a search that is cut off resumes. Raises BadInput where that cannot be done."""
        self.own[workload] = choice
        text = json.dumps({"schema": SCHEMA, "best": dict(sorted(self.own.items()))}, indent=0)
        write_atomic(self.place, (text + "\n").encode())


def read(path: Path) -> dict[str, str]:
    """A database's rows; none where there is no file. Raises BadInput when it is damaged."""
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text())
        if found["schema"] != SCHEMA:
            return {}
        rows: Mapping[str, str] = found["best"]
        return {str(workload): str(choice) for workload, choice in rows.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        hint = "remove it; what it held is measured again"
        raise BadInput(f"the tuning database cannot be read ({error})", where=str(path), hint=hint) from error


def database(cpu: Cpu) -> Database:
    """What is known of a CPU: what the package brings, and over it what was measured here."""
    place = cache_folder() / "tvm" / f"{cpu.name}.json"
    return Database(read(SHIPPED / f"{cpu.bits}-{cpu.dot}.json"), place, read(place))
