"""Children: vendor libraries run in a process of their own, with a deadline and a captured log.

A crash, a hang or an abort there becomes a `BackendFailed` with its stage and the end of its log.
Arguments and results are pickled, so they must be plain data (dataclasses, NumPy arrays, paths).
"""

from __future__ import annotations

import io
import os
import pickle
import selectors
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from effc.core.errors import BackendFailed, EffcError
from effc.core.progress import Progress

_HEADER = struct.Struct("<Q")
_LOG_TAIL = 4000
DEADLINE_S = 600.0
_OF_LIBRARIES = ("PATH", "HOME", "XDG", "TMPDIR", "PYTHON", "LD_", "CUDA", "NVIDIA", "EFFC")
"""What a fixed child sees of the environment: the rest would only shift its memory."""


def call(
    function: str,
    *args: object,
    stage: str,
    deadline: float = DEADLINE_S,
    progress: Progress | None = None,
    fixed: Path | None = None,
) -> Any:
    """Run `module:function` once in a child and return what it returns.

    Args:
        progress: told how far the child is; the function then takes a keyword `report`, called with (done, total).
        fixed: a folder that the child works in; addresses there are the same every time (`core.fixed`).

    Raises:
        EffcError: whatever reported error the function raised, unchanged.
        BackendFailed: any other exception there, a crash, or `deadline` seconds gone by.
    """
    with Worker(stage, deadline=deadline, fixed=fixed) as worker:
        return worker.call(function, *args, progress=progress)


class Worker:
    """One child that serves calls until it is closed. Objects it makes stay in it, under a name.

    `worker.make("runner", "module:Class", *args)` builds an object there;
    `worker.method("runner", "run", *args)` calls it.
    """

    def __init__(
        self,
        stage: str,
        *,
        deadline: float = DEADLINE_S,
        env: Mapping[str, str] | None = None,
        fixed: Path | None = None,
        preload: Sequence[str] = (),
    ) -> None:
        """Start the child; it imports the modules of `preload` while its first call is still being prepared."""
        self.stage, self.deadline, self._pack = stage, deadline, canonical if fixed else packed
        self._log = tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as the worker
        request_read, self._request = os.pipe()
        self._reply, reply_write = os.pipe()
        module = "effc.core.fixed" if fixed else "effc.core.child"
        command = [sys.executable, "-m", module, str(request_read), str(reply_write), *preload]
        kept = {name: text for name, text in os.environ.items() if not fixed or name.startswith(_OF_LIBRARIES)}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            pass_fds=(request_read, reply_write),
            env={**kept, **(env or {})},
            cwd=fixed,
        )
        os.close(request_read)
        os.close(reply_write)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.kill()

    @property
    def alive(self) -> bool:
        """Whether the child can take another call."""
        return self._request >= 0 and self._process.poll() is None

    def call(self, function: str, *args: object, progress: Progress | None = None) -> Any:
        """Call `module:function` in the child; with `progress` it takes a keyword `report` for (done, total)."""
        return self._ask(("call" if progress is None else "reporting", function, "", args), progress)

    def make(self, name: str, factory: str, *args: object) -> None:
        """Build an object with `module:Class` and keep it in the child under `name`."""
        self._ask(("make", factory, name, args))

    def method(self, name: str, method: str, *args: object) -> Any:
        """Call a method of an object kept in the child."""
        return self._ask(("method", method, name, args))

    def preload(self, *modules: str) -> None:
        """Let the child import modules behind its answers, for calls to come."""
        with suppress(BrokenPipeError):  # it has died: the next call says so
            write_message(self._request, self._pack(("load", "", "", modules)))

    def kill(self) -> None:
        """End the child where nobody waits any more for what it is at."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        """End the child; closing the request pipe is its signal to leave."""
        if self._request < 0:
            return
        os.close(self._request)
        os.close(self._reply)
        self._request = -1
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _ask(self, request: tuple[str, str, str, tuple[object, ...]], progress: Progress | None = None) -> Any:
        end = time.monotonic() + self.deadline
        try:
            write_message(self._request, self._pack(request))
            ok, value = pickle.loads(self._read_reply(end))
            while ok is None:  # not the answer yet, but how far it is
                if progress is not None:
                    progress.advance(*value)
                ok, value = pickle.loads(self._read_reply(end))
        except (BrokenPipeError, EOFError):
            raise self._died() from None
        if ok:
            return value
        if isinstance(value, EffcError):
            raise value
        raise BackendFailed(str(value), stage=self.stage, log=self.log())

    def _read_reply(self, end: float) -> bytes:
        (size,) = _HEADER.unpack(self._read_exactly(_HEADER.size, end))
        return self._read_exactly(size, end)

    def _read_exactly(self, size: int, end: float) -> bytes:
        data = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._reply, selectors.EVENT_READ)
            while len(data) < size:
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise self._timed_out()
                chunk = os.read(self._reply, min(size - len(data), 1 << 20))
                if not chunk:
                    raise EOFError
                data += chunk
        return bytes(data)

    def _timed_out(self) -> BackendFailed:
        self._process.kill()
        self._process.wait()  # so that it is not taken for one that is alive
        return BackendFailed(
            f"no answer within {self.deadline:.0f} s, so it was stopped", stage=self.stage, log=self.log()
        )

    def _died(self) -> BackendFailed:
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return BackendFailed(
            f"the child process {how}", stage=self.stage, log=self.log(), hint=self.log()[-600:].strip()
        )

    def log(self) -> str:
        """The end of what the child and its libraries printed."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _LOG_TAIL))
        return self._log.read().decode(errors="replace")


def packed(request: object) -> bytes:
    """The request as bytes; an object that stands in it twice is written once."""
    return pickle.dumps(request, protocol=5)


def canonical(request: object) -> bytes:
    """The request as bytes that are the same for equal requests, whichever objects within are one and the same.

    Else a child whose addresses are fixed would start from another heap where its job was read from a file.
    """
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, protocol=5)
    pickler.fast = True
    pickler.dump(request)
    return stream.getvalue()


def write_message(descriptor: int, payload: bytes) -> None:
    """Write a length and a payload to a pipe."""
    view = memoryview(_HEADER.pack(len(payload)) + payload)
    while view:
        view = view[os.write(descriptor, view) :]


def read_message(descriptor: int) -> bytes | None:
    """Read one message from a pipe; None when the other side has closed it."""
    with os.fdopen(os.dup(descriptor), "rb", buffering=0) as stream:
        header = stream.read(_HEADER.size)
        if not header:
            return None
        (size,) = _HEADER.unpack(header)
        data = bytearray()
        while len(data) < size:
            chunk = stream.read(min(size - len(data), 1 << 20))
            if not chunk:
                return None
            data += chunk
    return bytes(data)
