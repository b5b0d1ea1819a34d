"""The GPU of this machine, or why there is none; and whether an engine suits it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

from effc.backends.tensorrt.backend import CAPABILITIES
from effc.backends.tensorrt.library import LIBRARIES
from effc.core import worker
from effc.core.errors import BackendFailed, BadInput, EffcError
from effc.core.manifest import Manifest
from effc.core.target import Target

DRIVER = "libcuda.so.1"
GPU, CAPABILITY, CUDA_DRIVER = "gpu", "compute_capability", "cuda_driver"
"""Keys of the manifest's toolchain."""
_AMPERE, _BLACKWELL = (8, 0), (12, 0)
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
        found: Machine = worker.call("effc.backends.tensorrt.machine:probe", stage="look for a GPU", deadline=60.0)
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


def check(manifest: Manifest, machine: Machine, installed: str, where: str = "") -> None:
    """Hold what the manifest says of an engine against the machine that shall load it, and its library.

    Args:
        installed: version of the engine's library here.
        where: what errors name.

    Raises:
        BadInput: the engine was built for another GPU or by another version. What the manifest does not say passes.
    """
    target = Target.parse(manifest.target)
    reason = _version(manifest, LIBRARIES[target.backend].title, LIBRARIES[target.backend].module, installed)
    if reason:
        raise BadInput(reason, where=where, hint=_rebuild(manifest))
    if machine.gpu is not None and target.backend == "rtx":
        named = manifest.engine.capabilities if manifest.engine is not None else ()
        _compiled(target, named or target.suffixes or CAPABILITIES, machine.gpu, where)
    elif machine.gpu is not None and (other := _tuned(manifest, machine.gpu)):
        raise BadInput(other, where=where, hint=_rebuild(manifest))


def remark(manifest: Manifest, machine: Machine) -> str:
    """What is worth saying of an engine that does load: kernels were chosen on another model of GPU."""
    built = manifest.toolchain.get(GPU, "")
    if not built or machine.gpu is None or built == machine.gpu.name:
        return ""
    return f"its kernels were chosen on {built}, so another build here may be faster"


def _version(manifest: Manifest, title: str, module: str, installed: str) -> str:
    """An engine loads in the version that built it, and where it is version compatible in newer ones."""
    built = manifest.toolchain.get(module, "")
    if not built or not installed or built == installed:
        return ""
    lasting = manifest.engine is not None and manifest.engine.version_compatible
    if lasting and _numbers(installed) >= _numbers(built):
        return ""
    return f"it was built by {title} {built}, and this machine has {installed}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _tuned(manifest: Manifest, gpu: Gpu) -> str:
    """TensorRT builds for the capability of the GPU that it builds on, unless asked for Ampere and newer."""
    built = manifest.toolchain.get(CAPABILITY, "")
    level = manifest.engine.hardware if manifest.engine is not None else ""
    fits = gpu.capability >= _AMPERE if level == "ampere+" else built == gpu.sm
    if not built or fits:
        return ""
    made = f"{manifest.toolchain.get(GPU, 'another GPU')} ({built}{', for Ampere and newer' if level else ''})"
    return f"it was built on {made}, and this machine has {gpu}"


def _compiled(target: Target, compiled: tuple[str, ...], gpu: Gpu, where: str) -> None:
    """TensorRT-RTX runs on the capabilities that it compiled for, sm120 standing for what is newer too."""
    if gpu.sm in compiled or ("sm120" in compiled and gpu.capability > _BLACKWELL):
        return
    if gpu.sm in CAPABILITIES:
        hint = f"`effc build MODEL --target {target.base}:{'+'.join((*target.suffixes, gpu.sm))}` adds it"
        raise BadInput(f"it is compiled for {', '.join(compiled)}, and this machine has {gpu}", where=where, hint=hint)
    what = f"TensorRT-RTX has no {gpu.sm} among its targets, and this machine has {gpu}"
    hint = f"build with TensorRT on this machine: --target trt-{target.precision}"
    raise BadInput(what, where=where, hint=hint)


def _rebuild(manifest: Manifest) -> str:
    again = f"`effc build MODEL --target {manifest.target}`"
    return f"build it here: {again}, or `effc build PACKAGE` on a package that --defer sealed"
