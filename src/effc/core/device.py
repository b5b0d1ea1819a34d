"""The GPU of this machine and its driver, or why there is none."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

from effc.core import worker
from effc.core.errors import BackendFailed, EffcError

DRIVER = "libcuda.so.1"
GPU, CAPABILITY, CUDA_DRIVER = "gpu", "compute_capability", "cuda_driver"
"""Keys of the manifest's toolchain."""
_NO_DEVICE = 100
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""
_NAME_BYTES = 256


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver tells it.

    Attributes:
        capability: compute capability (major, minor): (8, 9) is sm89.
        memory_mb: device memory in MiB.
    """

    name: str
    capability: tuple[int, int]
    memory_mb: int = 0

    @property
    def sm(self) -> str:
        """The capability as targets spell it."""
        return "sm{}{}".format(*self.capability)

    def __str__(self) -> str:
        return f"{self.name} ({self.sm})"


@dataclass(frozen=True)
class Machine:
    """What this machine has to run engines with.

    Attributes:
        driver: the newest CUDA version that the driver serves, (major, minor); (0, 0) where there is none.
        reason: why no engine can run, empty where one can.
    """

    gpu: Gpu | None = None
    driver: tuple[int, int] = (0, 0)
    reason: str = ""


@cache
def here() -> Machine:
    """This machine. The driver is loaded in a child, once."""
    try:
        found: Machine = worker.call("effc.core.device:probe", stage="look for a GPU", deadline=60.0)
    except EffcError as error:
        return Machine(reason=f"the CUDA driver failed: {error.what}")
    return found


def no_gpu() -> str | None:
    """Why no engine can run on this machine; None where one can."""
    return here().reason or None


def toolchain() -> dict[str, str]:
    """The GPU and its driver, for the manifest of an engine that is built here; empty without a GPU."""
    gpu, driver = here().gpu, here().driver
    if gpu is None:
        return {}
    return {GPU: gpu.name, CAPABILITY: gpu.sm, CUDA_DRIVER: "{}.{}".format(*driver)}


def probe() -> Machine:
    """What the driver of this process tells. Needs no CUDA package."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return Machine(reason=f"no CUDA driver is installed ({DRIVER} is not there)")
    if status := driver.cuInit(0):
        return Machine(reason=_blind() if status == _NO_DEVICE else f"the CUDA driver does not start (error {status})")
    version = _number(driver.cuDriverGetVersion)
    serves = (version // 1000, version % 1000 // 10)
    if _number(driver.cuDeviceGetCount) == 0:
        return Machine(driver=serves, reason=_blind())
    return Machine(_gpu(driver), serves, _outdated(serves, _runtime()))


def _gpu(driver: ctypes.CDLL) -> Gpu:
    """The first GPU, which is the one that engines run on."""
    device = ctypes.c_int(_number(driver.cuDeviceGet, 0))
    name, size = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
    _asked(driver.cuDeviceGetName, name, _NAME_BYTES, device)
    _asked(driver.cuDeviceTotalMem_v2, ctypes.byref(size), device)
    major, minor = (_number(driver.cuDeviceGetAttribute, key, device) for key in (_MAJOR, _MINOR))
    return Gpu(name.value.decode(errors="replace"), (major, minor), size.value >> 20)


def _number(function: Callable[..., int], *arguments: Any) -> int:
    """The integer that a driver function writes through its first argument."""
    value = ctypes.c_int()
    _asked(function, ctypes.byref(value), *arguments)
    return value.value


def _asked(function: Callable[..., int], *arguments: Any) -> None:
    if status := function(*arguments):
        raise BackendFailed(f"{function.__name__} gives error {status}", stage="CUDA driver")


def _blind() -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
    return f"the CUDA driver sees no GPU{hidden}"


def _runtime() -> str:
    """The version of the CUDA runtime that cuda-bindings brings, empty without it."""
    try:
        return metadata.version("cuda-bindings")
    except metadata.PackageNotFoundError:
        return ""


def _outdated(driver: tuple[int, int], runtime: str) -> str:
    """Why the driver is too old: it serves every runtime of its own major version, and older ones."""
    if not runtime or driver[0] >= int(runtime.partition(".")[0]):
        return ""
    serves = "{}.{}".format(*driver)
    return f"the driver is older than this CUDA runtime needs (it serves CUDA {serves}, cuda-bindings is {runtime})"
