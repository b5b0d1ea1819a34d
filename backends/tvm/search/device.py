"""Where candidates are timed: this machine, or a device behind TVM's RPC tracker."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm

from effc.core.errors import BackendFailed, BadInput

Opened = tuple[Any, Any]
"""A loaded library and the device that its tensors live on."""
Device = Callable[[Any], Any]
STAGE = "tune"
_SESSION_S = 60


@dataclass(frozen=True)
class Tracker:
    """`--rpc host:port,key`."""

    host: str
    port: int
    key: str

    @classmethod
    def parse(cls, text: str) -> Tracker:
        """Read the option. Raises BadInput."""
        address, _, key = text.partition(",")
        host, _, port = address.rpartition(":")
        if not (host and port.isdigit() and key):
            raise BadInput(f"{text!r} names no tracker", where="--rpc", hint="write host:port,key")
        return cls(host, int(port), key)


@contextmanager
def local(library: Any) -> Iterator[Opened]:
    """The library in this process."""
    yield library, tvm.cpu()


@contextmanager
def remote(tracker: Tracker, library: Any, link: Callable[..., None] | None) -> Iterator[Opened]:
    """The library on a device that the tracker lends, for the time of this context. Raises BackendFailed."""
    from tvm import rpc

    with tempfile.TemporaryDirectory(prefix="effc-tune-") as folder:
        path = Path(folder) / f"candidates-{os.getpid()}.so"
        library.export_library(str(path), **({} if link is None else {"fcompile": link}))
        try:
            session = rpc.connect_tracker(tracker.host, tracker.port).request(tracker.key, session_timeout=_SESSION_S)
            session.upload(str(path))
            yield session.load_module(path.name), session.cpu()
        except (RuntimeError, OSError) as error:
            where = f"{tracker.host}:{tracker.port}"
            hint = f"is a device registered there with the key {tracker.key!r}?"
            raise BackendFailed(f"the tracker {where} lends no device ({error})", stage=STAGE, hint=hint) from error
