"""How a long piece of work tells where it is: named stages, and steps within one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """The silent progress; it keeps each stage's seconds. A visible one overrides `begin`, `end` and `advance`.

    Attributes:
        seconds: stage name to the seconds spent in it, in order of first entry; a stage entered twice adds up.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block under `name`. Stages nest; an inner one's seconds count in the outer one too."""
        start = time.perf_counter()
        self.begin(name)
        try:
            yield
        finally:
            self.took(name, time.perf_counter() - start)
            self.end(name)

    def took(self, name: str, seconds: float) -> None:
        """Add the seconds of a stage, which something else may have timed."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def advance(self, done: int, total: int | None = None) -> None:
        """`done` of `total` units of the innermost stage are finished; None where the total is unknown."""

    def begin(self, name: str) -> None:
        """A stage starts."""

    def end(self, name: str) -> None:
        """A stage is over, whether it succeeded or not."""


class Part(Progress):
    """Stages within one of another progress: shown there, and timed here."""

    def __init__(self, whole: Progress) -> None:
        super().__init__()
        self._whole = whole

    def advance(self, done: int, total: int | None = None) -> None:
        """Told on."""
        self._whole.advance(done, total)

    def begin(self, name: str) -> None:
        """Told on."""
        self._whole.begin(name)

    def end(self, name: str) -> None:
        """Told on."""
        self._whole.end(name)
