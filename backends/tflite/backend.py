"""The TFLite backend: float32 and int8 models for LiteRT."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from effc.backends.base import EmitOptions, Emitted, Feeds, TargetInfo
from effc.core.artifact import Artifact
from effc.core.errors import Caution, Refusal
from effc.core.target import Target

if TYPE_CHECKING:
    from effc.backends.explanation import Explanation
    from effc.calibration.scheme import Scheme
    from effc.compiler import ir
    from effc.compiler.phase import Phase

FILE_NAME = "model.tflite"
_LIBRARIES = ("ai_edge_litert", "flatbuffers", "networkx")


class TfliteBackend:
    """`backends.base.Backend` for TFLite."""

    name = "tflite"

    def targets(self) -> tuple[TargetInfo, ...]:
        """The two precisions."""
        return (
            TargetInfo("tflite-fp32", "float32 flatbuffer for LiteRT and XNNPACK"),
            TargetInfo("tflite-int8", "int8 kernels, weights per channel, for LiteRT and XNNPACK"),
        )

    def missing(self) -> str | None:
        """The install line when a library is not here."""
        absent = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
        return "pip install 'effc[tflite]'" if absent else None

    def versions(self) -> dict[str, str]:
        """The schema's and runtime's version."""
        return {"ai-edge-litert": version("ai-edge-litert")}

    def scheme(self, target: Target) -> Scheme | None:
        """Per-tensor asymmetric int8 activations, per-channel weights."""
        from effc.backends.tflite.scheme import INT8

        return INT8 if target.precision == "int8" else None

    def narrowing(self, target: Target) -> None:
        """Floats stay float32."""
        del target

    def legalize(self, target: Target) -> tuple[Phase, ...]:
        """Float rewrites into ops that TFLite has and XNNPACK delegates."""
        from effc.backends.tflite.legalize import phases

        return phases(target.precision)

    def support(self, model: ir.Model, target: Target) -> tuple[Refusal, ...]:
        """Nodes without a lowering, and inputs whose symbolic dims TFLite cannot keep."""
        from effc.backends.tflite import ops  # noqa: F401  (fills the table)
        from effc.backends.tflite.ops.table import TABLE

        if not model.graph.inputs:
            return (Refusal("graph", "model", "it has no inputs, so there is nothing for LiteRT to run"),)
        own = (*_symbolic_inputs(model.graph.inputs), *TABLE.refusals(_lowered(model.graph)))
        return (*own, *_foreign_quantization(model.graph), *_empty(model.graph))

    def cautions(self, model: ir.Model, target: Target) -> tuple[Caution, ...]:
        """Nodes that XNNPACK does not take."""
        del target
        from effc.backends.tflite.delegated import cautions

        return tuple(cautions(model.graph))

    def emit(self, model: ir.Model, target: Target, options: EmitOptions, folder: Path) -> Emitted:
        """Write `model.tflite`."""
        from effc.backends.tflite.emit import emit

        written = emit(model, native=options.io == "native")
        (folder / FILE_NAME).write_bytes(written.data)
        mixed = len(set(written.precision.values())) > 1
        return Emitted(FILE_NAME, (FILE_NAME,), written.inputs, written.outputs, written.precision if mixed else {})

    def runner(self) -> str:
        """LiteRT's interpreter."""
        return "effc.backends.tflite.runner:LiteRTRunner"

    def explain(self, artifact: Artifact, feeds: Feeds | None) -> Explanation:
        """LiteRT's own list of operators, and the ONNX nodes that they come from."""
        from effc.backends.tflite.explain import explain

        del feeds
        return explain(artifact)

    def unrunnable(self, target: Target) -> None:
        """Wherever the library is, its artifacts run."""
        del target


def _lowered(nodes: Iterable[ir.Node]) -> Iterable[ir.Node]:
    return (n for n in nodes if n.op_type not in ("QuantizeLinear", "DequantizeLinear"))


def _foreign_quantization(nodes: Iterable[ir.Node]) -> tuple[Refusal, ...]:
    """Q/DQ that came with the model and that int8 per tensor cannot say."""
    from effc.backends.tflite.plan import foreign

    found = ((node, foreign(node)) for node in nodes)
    return tuple(Refusal(node.name or "", node.op_type, reason) for node, reason in found if reason is not None)


def _empty(nodes: Iterable[ir.Node]) -> tuple[Refusal, ...]:
    """Tensors without elements, which LiteRT does not allocate."""
    from effc.compiler import ir

    empty = (node for node in nodes if any(0 in (ir.shape(v) or ()) for v in node.outputs))
    return tuple(Refusal(node.name or "", node.op_type, "its output has no elements") for node in empty)


def _symbolic_inputs(inputs: Iterable[ir.Value]) -> tuple[Refusal, ...]:
    """Only the first dim may be symbolic: a dynamic batch."""
    from effc.compiler import ir
    from effc.compiler.sized import fixing

    shapes = ((v, ir.shape(v)) for v in inputs)
    bad = [(v, dims) for v, dims in shapes if dims is None or any(not isinstance(d, int) for d in dims[1:])]
    reason = "only the batch may be symbolic in a TFLite model"
    hint = "fix it, with your sizes in place of 1: --shape"
    return tuple(
        Refusal(v.name or "", "input", f"{reason}, its shape is {dims}", f"{hint} {fixing(v)}") for v, dims in bad
    )


BACKENDS = (TfliteBackend(),)
