"""What only TensorRT-RTX has: it compiles ahead of time for the GPUs that it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from effc.backends.tensorrt import api
from effc.core.errors import BackendFailed


class IBuilderConfig(api.IBuilderConfig, Protocol):
    """What TensorRT-RTX adds to it."""

    num_compute_capabilities: int

    def set_compute_capability(self, compute_capability: api.Member, index: int) -> bool:
        """False where the library does not compile for it."""


class Trt(api.Trt, Protocol):
    """What TensorRT-RTX adds to the module."""

    ComputeCapability: object
    """An enum: SM75, SM80 and so on."""


def compile_for(trt: api.Trt, config: api.IBuilderConfig, names: Sequence[str]) -> None:
    """Tell TensorRT-RTX which GPUs the engine is for, as in "sm89"; TensorRT knows that of this machine alone.

    Raises BackendFailed for one that this version of the library does not compile for.
    """
    if not names:
        return
    members, rtx = cast(Trt, trt).ComputeCapability, cast(IBuilderConfig, config)
    rtx.num_compute_capabilities = len(names)
    for index, name in enumerate(names):
        member: api.Member | None = getattr(members, name.upper(), None)
        if member is None or not rtx.set_compute_capability(member, index):
            hint = "leave it out of the target, or install another version"
            raise BackendFailed(f"TensorRT-RTX {trt.__version__} does not compile for {name}", hint=hint)
