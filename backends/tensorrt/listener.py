"""What the library says while it works, kept so that an error can tell its last words."""

from __future__ import annotations

import sys
from typing import Any, cast

from effc.backends.tensorrt.api import ILogger, Trt

_KEPT = 20


class Words(list[str]):
    """Lines of the library's log, oldest first."""

    def last(self) -> str:
        """The last one, or a stand-in where it said nothing."""
        return self[-1] if self else "the library does not say why"


def listener(trt: Trt, words: Words) -> ILogger:
    """A logger of the library's kind that keeps errors in `words`, and prints them and warnings on stderr."""
    severity = trt.ILogger.Severity
    base: Any = trt.ILogger

    class Listener(base):  # type: ignore[misc]
        """Called by the library from any thread."""

        def __init__(self) -> None:
            base.__init__(self)

        def log(self, level: Any, text: str) -> None:
            """The most severe levels have the lowest numbers."""
            if int(level) <= int(severity.ERROR):
                words.append(text)
                del words[:-_KEPT]
            if int(level) <= int(severity.WARNING):
                print(text, file=sys.stderr)

    return cast(ILogger, Listener())
