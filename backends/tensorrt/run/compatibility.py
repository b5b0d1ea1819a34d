"""Whether an engine suits the machine that shall load it."""

from __future__ import annotations

from effc.backends.tensorrt.backend import CAPABILITIES
from effc.backends.tensorrt.library import LIBRARIES
from effc.core.device import CAPABILITY, GPU, Gpu, Machine
from effc.core.errors import BadInput
from effc.core.manifest import Manifest
from effc.core.target import Target

_AMPERE, _BLACKWELL = (8, 0), (12, 0)


def check(manifest: Manifest, here: Machine, installed: str, where: str = "") -> None:
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
    if here.gpu is not None and target.backend == "rtx":
        named = manifest.engine.capabilities if manifest.engine is not None else ()
        _compiled(target, named or target.suffixes or CAPABILITIES, here.gpu, where)
    elif here.gpu is not None and (other := _tuned(manifest, here.gpu)):
        raise BadInput(other, where=where, hint=_rebuild(manifest))


def remark(manifest: Manifest, here: Machine) -> str:
    """What is worth saying of an engine that does load: kernels were chosen on another model of GPU."""
    built = manifest.toolchain.get(GPU, "")
    if not built or here.gpu is None or built == here.gpu.name:
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
