"""Limits on memory that a process sets itself, so that a library's allocation fails instead of the machine."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

ADDRESSES = resource.RLIMIT_AS
DATA = resource.RLIMIT_DATA
"""What may be written to: heap, and private maps of files; not addresses that are merely reserved."""


@contextmanager
def limited(size: int, kind: int = ADDRESSES) -> Iterator[None]:
    """Let allocations fail that would take this process beyond `size` bytes of that kind."""
    soft, hard = resource.getrlimit(kind)
    given = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(kind, (min([size, *given]), hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))
