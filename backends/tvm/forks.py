"""Independent work shared by copies of this process: what it has loaded and made need not be sent to them."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator


def shared(work: Callable[[int], None], count: int, processes: int) -> None:
    """Call `work(i)` for each i below `count`, each in one of some copies of this process; results go to files.

    Raises RuntimeError when a copy fails or crashes; what it printed is this process's own log.
    """
    if count == 0:
        return
    source, sink = os.pipe()
    os.write(sink, b"".join(i.to_bytes(4, "little") for i in range(count)))
    os.close(sink)
    sys.stdout.flush()
    sys.stderr.flush()
    copies = [_copy(work, source) for _ in range(min(processes, count))]
    os.close(source)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in copies]
    if any(statuses):
        raise RuntimeError(f"a process that compiles kernels ended with {next(filter(None, statuses))}")


def _copy(work: Callable[[int], None], source: int) -> int:
    """Start a copy that takes numbers from the pipe until it is empty; its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        for i in _numbers(source):
            work(i)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _numbers(source: int) -> Iterator[int]:
    while taken := os.read(source, 4):  # the kernel hands out each four bytes once
        yield int.from_bytes(taken, "little")
