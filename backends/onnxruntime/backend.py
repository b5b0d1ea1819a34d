"""The ONNX Runtime backend: the simplified model itself, in float or with Q/DQ that it fuses to integer kernels."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from effc.backends.base import EmitOptions, Emitted, Feeds, TargetInfo
from effc.core.artifact import Artifact
from effc.core.errors import Refusal
from effc.core.target import Target

if TYPE_CHECKING:
    from effc.backends.explanation import Explanation
    from effc.calibration.scheme import Scheme
    from effc.compiler import ir
    from effc.compiler.phase import Phase


class OnnxRuntimeBackend:
    """`backends.base.Backend` for ONNX Runtime."""

    name = "ort"

    def targets(self) -> tuple[TargetInfo, ...]:
        """The two precisions."""
        return (
            TargetInfo("ort-fp32", "simplified float32 ONNX for ONNX Runtime"),
            TargetInfo("ort-int8", "Q/DQ ONNX, uint8 activations and int8 weights, for ONNX Runtime's integer kernels"),
        )

    def missing(self) -> str | None:
        """The install line when the library is not here."""
        return None if importlib.util.find_spec("onnxruntime") else "pip install onnxruntime"

    def versions(self) -> dict[str, str]:
        """The runtime's version."""
        return {"onnxruntime": version("onnxruntime")}

    def scheme(self, target: Target) -> Scheme | None:
        """uint8 activations, int8 weights per channel."""
        from effc.backends.onnxruntime.scheme import INT8

        return INT8 if target.precision == "int8" else None

    def narrowing(self, target: Target) -> None:
        """Floats stay float32."""
        del target

    def legalize(self, target: Target) -> tuple[Phase, ...]:
        """Float rewrites into the ops that have integer kernels."""
        from effc.backends.onnxruntime.legalize import INT8_PHASE

        return (INT8_PHASE,) if target.precision == "int8" else ()

    def support(self, model: ir.Model, target: Target) -> tuple[Refusal, ...]:
        """Nodes of domains that the runtime does not have."""
        del target
        from effc.backends.onnxruntime.support import refusals

        return refusals(model)

    def emit(self, model: ir.Model, target: Target, options: EmitOptions, folder: Path) -> Emitted:
        """Write `model.onnx`."""
        from effc.backends.onnxruntime.emit import emit

        return emit(model, folder, native=options.io == "native" and target.precision == "int8")

    def runner(self) -> str:
        """A session with all optimizations."""
        return "effc.backends.onnxruntime.runner:OrtRunner"

    def explain(self, artifact: Artifact, feeds: Feeds | None) -> Explanation:
        """A profile of ONNX Runtime, beside that of the same graph in float32."""
        from effc.backends.onnxruntime.explain import explain

        return explain(artifact, feeds)

    def unrunnable(self, target: Target) -> None:
        """Wherever the library is, its artifacts run."""
        del target


BACKENDS = (OnnxRuntimeBackend(),)
