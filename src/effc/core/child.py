"""The loop of a child process: read a call, run it, write its result. Started by `worker.Worker`."""

from __future__ import annotations

import importlib
import pickle
import sys
import traceback
from collections.abc import Callable
from typing import Any

from effc.core.errors import EffcError
from effc.core.worker import read_message, write_message


def resolve(name: str) -> Callable[..., Any]:
    """The object that `module:attribute` names."""
    module, _, attribute = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return found


def serve(requests: int, replies: int) -> None:
    """Answer requests until the pipe closes."""
    kept: dict[str, Any] = {}
    while (message := read_message(requests)) is not None:
        verb, function, name, args = pickle.loads(message)
        try:
            answer: tuple[bool, object] = (True, _perform(kept, verb, function, name, args))
        except EffcError as error:
            answer = (False, error)
        except Exception as error:
            traceback.print_exc()
            answer = (False, f"{type(error).__name__}: {error}")
        write_message(replies, pickle.dumps(answer, protocol=5))


def _perform(kept: dict[str, Any], verb: str, function: str, name: str, args: tuple[object, ...]) -> object:
    if verb == "method":
        return getattr(kept[name], function)(*args)
    result = resolve(function)(*args)
    if verb == "make":
        kept[name] = result
        return None
    return result


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
