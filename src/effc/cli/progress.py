"""Progress on a terminal: the running stages with their bars, on stderr, gone when the work is done."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from effc.core.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


@contextmanager
def progress(*, wanted: bool) -> Iterator[Progress]:
    """A visible progress where someone looks at a terminal, else the silent one."""
    if not (wanted and sys.stderr.isatty()):
        yield Progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _Shown(bars)


class _Shown(Progress):
    """One bar for each stage that is running, the innermost last."""

    def __init__(self, bars: Bars) -> None:
        super().__init__()
        self._bars = bars
        self._open: list[TaskID] = []

    def begin(self, name: str) -> None:
        self._open.append(self._bars.add_task(name, total=None))

    def advance(self, done: int, total: int | None = None) -> None:
        if self._open:
            self._bars.update(self._open[-1], completed=done, total=total)

    def end(self, name: str) -> None:
        self._bars.remove_task(self._open.pop())
