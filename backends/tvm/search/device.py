"""Where candidates are timed: this machine, or a device behind TVM's RPC tracker."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tvm

from effc.core.errors import BackendFailed
from effc.core.options import Tracker

Opened = tuple[Any, Any]
"""A loaded library and the device that its tensors live on."""
STAGE = "tune"
_SESSION_S = 60


@contextmanager
def local(library: Any) -> Iterator[Opened]:
    """The library in this process."""
    yield library, tvm.cpu()


@contextmanager
def remote(tracker: Tracker, machine: str, library: Any) -> Iterator[Opened]:
    """The library on a device that the tracker lends, for the time of this context. Raises BackendFailed."""
    from tvm import rpc

    from effc.backends.tvm.toolchain.compilers import link

    try:
        session = rpc.connect_tracker(tracker.host, tracker.port).request(tracker.key, session_timeout=_SESSION_S)
    except (RuntimeError, OSError) as error:
        where = f"{tracker.host}:{tracker.port}"
        hint = f"is a tracker there, and a device with the key {tracker.key!r}?"
        raise BackendFailed(f"the tracker {where} lends no device ({error})", stage=STAGE, hint=hint) from error
    with tempfile.TemporaryDirectory(prefix="effc-tune-") as folder:
        path, compiled = Path(folder) / f"candidates-{os.getpid()}.so", Path(folder) / "candidates.o"
        library.write_to_file(str(compiled), "obj")
        link([compiled], path, machine)
        session.upload(str(path))
        yield session.load_module(path.name), session.cpu()
