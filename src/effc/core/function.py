"""Functions of the user's, named `module:function`: imported, and their failures told as bad input."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from effc.core.errors import BadInput, EffcError

HINT = "write module:function, of a module in this folder or on PYTHONPATH"


def load(name: str, where: str) -> Callable[..., Any]:
    """The function that `name` names. Raises BadInput when there is none or its module cannot be imported."""
    module, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise BadInput(f"there is no function {name!r} ({error})", where=where, hint=HINT) from error
    if not callable(found):
        raise BadInput(f"{name!r} is no function", where=where, hint=HINT)
    return found


@contextmanager
def told(where: str) -> Iterator[None]:
    """Whatever the user's code raises within becomes a BadInput that names it."""
    try:
        yield
    except EffcError:
        raise
    except Exception as error:
        raise BadInput(f"it failed with {type(error).__name__}: {error}", where=where) from error
