"""The TensorRT backends: `trt` on the GPU machine, `rtx` ahead of time; both build from the same typed ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from effc.backends.base import EmitOptions, Emitted, Feeds, TargetInfo
from effc.core.artifact import Artifact
from effc.core.errors import Refusal
from effc.core.target import Target
from effc.core.worker import Worker

if TYPE_CHECKING:
    from effc.backends.explanation import Explanation
    from effc.calibration.scheme import Scheme
    from effc.compiler import ir
    from effc.compiler.passes.precision import Narrowing
    from effc.compiler.phase import Phase

PRECISIONS = {
    "fp32": "float32 (TF32 where the GPU has it, unless --no-tf32)",
    "fp16": "float16, with float32 where it would overflow or lose",
    "bf16": "bfloat16, with float32 where it would lose",
    "int8": "int8 by Q/DQ, the rest float32",
    "fp8": "float8 E4M3 by Q/DQ, the rest float32",
    "best": "int8 by Q/DQ, the rest float16",
}
REFUSED_BFLOAT16 = frozenset({"ConvTranspose", "HardSwish", "LpPool", "Mish"})
"""Ops that the parser or the builder has not in bfloat16 (TensorRT-RTX 1.7)."""
CAPABILITIES = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
"""The GPUs that TensorRT-RTX 1.7 compiles for ahead of time; without a suffix, all from Ampere (sm80) on."""
_LEAST = {"bf16": 80, "fp8": 89}
"""The first GPU with arithmetic of that precision, where not all have it."""


def capable(capabilities: tuple[str, ...], precision: str) -> tuple[str, ...]:
    """Those of the capabilities that compute in `precision`."""
    return tuple(name for name in capabilities if int(name.removeprefix("sm")) >= _LEAST.get(precision, 0))


@dataclass(frozen=True)
class TensorRTBackend:
    """`backends.base.Backend` and `Sealing` for one flavour of the library, "trt" or "rtx"."""

    name: str
    title: str
    suffixes: tuple[str, ...] = ()

    def targets(self) -> tuple[TargetInfo, ...]:
        """A target for each precision."""
        return tuple(
            TargetInfo(f"{self.name}-{precision}", f"{self.title} engine, {summary}", capable(self.suffixes, precision))
            for precision, summary in PRECISIONS.items()
        )

    def missing(self) -> str | None:
        """The install line when the library is not here."""
        from effc.backends.tensorrt import library

        return library.missing(self.name)

    def unbuildable(self) -> str | None:
        """TensorRT times kernels on the GPU that it builds for; TensorRT-RTX needs none."""
        from effc.core import device

        return device.no_gpu() if self.name == "trt" else None

    def explain(self, artifact: Artifact, feeds: Feeds | None) -> Explanation:
        """The engine's layer information, with times where there is a GPU, else the typed graph."""
        from effc.backends.tensorrt.explain.report import explain

        return explain(artifact, feeds)

    def unrunnable(self, target: Target) -> str | None:
        """An engine runs on a GPU."""
        del target
        from effc.core import device

        return device.no_gpu()

    def versions(self) -> dict[str, str]:
        """The library's flavour and version, and the GPU where engines are built for the one that is here."""
        from effc.backends.tensorrt import library
        from effc.core import device

        return library.versions(self.name) | (device.toolchain() if self.name == "trt" else {})

    def scheme(self, target: Target) -> Scheme | None:
        """Symmetric Q/DQ with float biases, int8 or float8."""
        from effc.backends.tensorrt.scheme import SCHEMES

        return SCHEMES.get(target.precision)

    def narrowing(self, target: Target) -> Narrowing | None:
        """float16 for fp16 and best, bfloat16 for bf16."""
        dtype = {"fp16": "float16", "best": "float16", "bf16": "bfloat16"}.get(target.precision)
        if dtype is None:
            return None
        from effc.compiler.passes.precision import Narrowing

        return Narrowing(dtype, refused=REFUSED_BFLOAT16 if dtype == "bfloat16" else frozenset())

    def legalize(self, target: Target) -> tuple[Phase, ...]:
        """Float rewrites into the ops that the parser takes and that fuse."""
        from effc.backends.tensorrt.legalize import phases

        return phases(target)

    def support(self, model: ir.Model, target: Target) -> tuple[Refusal, ...]:
        """Every node that the parser does not take, by our own table: no library is needed."""
        from effc.backends.tensorrt.support.refusals import refusals

        return refusals(model, target)

    def emit(self, model: ir.Model, target: Target, options: EmitOptions, folder: Path) -> Emitted:
        """State the interface and, unless deferred, build `model.engine` from `typed.onnx`."""
        from effc.backends.tensorrt.build.emit import emit

        return emit(model, target, options, folder)

    def check(self, model: ir.Model, target: Target, options: EmitOptions) -> None:
        """Profiles must fit the inputs, and the library must have what is asked."""
        from effc.backends.tensorrt.build.emit import settled

        settled(model, target, options)

    def child(self, folder: Path, target: Target, options: EmitOptions) -> Worker:
        """A child in the folder that has loaded the library."""
        from effc.backends.tensorrt.build.emit import child

        return child(folder, target, options)

    def finish(self, folder: Path, target: Target, options: EmitOptions) -> tuple[str, ...]:
        """Build `model.engine` from the folder's `typed.onnx`."""
        from effc.backends.tensorrt.build.emit import finish

        return finish(folder, target, options)

    def runner(self) -> str:
        """An execution context with its own stream."""
        return "effc.backends.tensorrt.run.runner:EngineRunner"


BACKENDS = (
    TensorRTBackend("trt", "TensorRT"),
    TensorRTBackend("rtx", "TensorRT-RTX", CAPABILITIES),
)
