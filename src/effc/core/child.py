"""The loop of a child process: read a call, run it, write its result. Started by `worker.Worker`."""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
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
        if verb == "load":
            threading.Thread(target=load, args=args, daemon=True).start()
            continue
        try:
            if verb == "reporting":
                report = partial(_report, replies)
                answer: tuple[bool, object] = (True, resolve(function)(*args, report=report))
            else:
                answer = (True, _perform(kept, verb, function, name, args))
        except EffcError as error:
            answer = (False, error)
        except Exception as error:
            traceback.print_exc()
            answer = (False, f"{type(error).__name__}: {error}")
        write_message(replies, pickle.dumps(answer, protocol=5))


def load(*modules: str) -> None:
    """Import modules that calls will need; such a call will say what is wrong with one that cannot be."""
    for module in modules:
        with suppress(Exception):
            importlib.import_module(module)


def _report(replies: int, done: int, total: int | None = None) -> None:
    """Tell the parent how far the call is: a message that is no answer yet."""
    write_message(replies, pickle.dumps((None, (done, total)), protocol=5))


def _leave_with(parent: int) -> None:
    """End this process once its parent is gone, even in the midst of a call that would take hours."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _perform(kept: dict[str, Any], verb: str, function: str, name: str, args: tuple[object, ...]) -> object:
    if verb == "method":
        return getattr(kept[name], function)(*args)
    result = resolve(function)(*args)
    if verb == "make":
        kept[name] = result
        return None
    return result


def _stay() -> None:
    """Ctrl-C reaches the whole group, but when this process is to end its parent decides; its own children do hear."""
    signal.signal(signal.SIGINT, lambda number, frame: None)


if __name__ == "__main__":
    _stay()
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    load(*sys.argv[3:])
    serve(int(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # all answers are out: what libraries do at their end would only take time, or crash
