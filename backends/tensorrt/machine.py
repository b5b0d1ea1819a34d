"""The GPU of this machine, or why there is none; and whether an engine suits it."""

from __future__ import annotations

import ctypes
from functools import cache

from effc.core import worker
from effc.core.errors import EffcError


@cache
def no_gpu() -> str | None:
    """Why no engine can run on this machine; None where one can. The driver is loaded in a child, once."""
    try:
        reason: str | None = worker.call("effc.backends.tensorrt.machine:probe", stage="look for a GPU", deadline=60.0)
    except EffcError as error:
        return f"the CUDA driver failed ({error.what})"
    return reason


def probe() -> str | None:
    """The reason that `no_gpu` gives, found in this process by asking the driver itself."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no CUDA driver is installed (libcuda.so.1 is not there)"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "the CUDA driver sees no GPU"
    return None
