"""What only one flavour of the library has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from effc.backends.tensorrt.api import IBuilderConfig, Member, Trt


class ComputeCapability(Protocol):
    """GPUs that an engine can be compiled for ahead of time, by name: SM75, SM89 and so on."""

    __members__: dict[str, Member]
    NONE: Member
    CURRENT: Member


class RtxConfig(Protocol):
    """What TensorRT-RTX adds to IBuilderConfig."""

    num_compute_capabilities: int

    def set_compute_capability(self, compute_capability: Member, index: int) -> bool: ...


class Rtx(Protocol):
    """What TensorRT-RTX adds to the module."""

    ComputeCapability: ComputeCapability


def capabilities(trt: Trt) -> dict[str, Member]:
    """The GPUs that TensorRT-RTX compiles for ahead of time: `sm89` and so on to the enum's member."""
    members = cast(Rtx, trt).ComputeCapability.__members__
    return {name.lower(): member for name, member in members.items() if name.startswith("SM")}


def compile_for(flavour: str, trt: Trt, config: IBuilderConfig, names: Sequence[str]) -> None:
    """Tell which GPUs the engine is for: those named, else all; TensorRT knows this machine's alone."""
    if flavour != "rtx":
        return
    known, rtx = capabilities(trt), cast(RtxConfig, config)
    chosen = names or tuple(known)
    rtx.num_compute_capabilities = len(chosen)
    for index, name in enumerate(chosen):
        rtx.set_compute_capability(known[name], index)
