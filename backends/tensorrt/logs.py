"""What the library says: kept for errors, and passed on to this process's own output."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from effc.backends.tensorrt.api import ILogger, Member, Trt

T = TypeVar("T")
_ERRORS = frozenset({"INTERNAL_ERROR", "ERROR"})
_KEPT = 50


@dataclass
class Log:
    """The last errors and warnings; all of them also go to this process's own output."""

    errors: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def take(self, severity: Member, message: str) -> None:
        """One message of the library's, from any of its threads."""
        if severity.name in _ERRORS:
            self.errors.append(message)
        if severity.name in _ERRORS or severity.name == "WARNING":
            self.note(f"{severity.name.lower()}: {message}")

    def note(self, message: str) -> None:
        """A line of our own."""
        print(message, flush=True)


def logger(trt: Trt, log: Log) -> ILogger:
    """The library's logger that feeds `log`."""

    def taken(_: object, severity: Member, message: str) -> None:
        log.take(severity, message)

    return derived(trt.ILogger, log=taken)


def derived(base: type[T], **methods: Callable[..., object]) -> T:
    """An object of a class derived from the library's `base`, which is known only when the library is loaded."""
    derived: type[T] = type(base.__name__, (base,), methods)
    return derived()
