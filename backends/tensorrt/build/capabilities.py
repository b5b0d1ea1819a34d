"""Which GPUs an engine can be compiled for ahead of time, and which options cannot be asked of TensorRT-RTX."""

from __future__ import annotations

from effc.backends.tensorrt.backend import CAPABILITIES, capable
from effc.compiler import ir
from effc.core.errors import BadInput, Refusal, UnsupportedOps
from effc.core.options import EngineOptions
from effc.core.target import Target

RTX = "rtx"
TURING = "sm75"
_PRODUCTS = frozenset({"Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN"})
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})


def compiled_for(target: Target, model: ir.Model) -> tuple[str, ...]:
    """The GPUs that the engine of a typed model is compiled for: those named, else all from Ampere on.

    Turing must be named, as with the library's own default: kernels for it make the engine up to five times as large
    for all. TensorRT-RTX has no float32 matrix products and no float32 convolutions over volumes for it, as its
    log says ("Cannot compile operation").

    Raises:
        UnsupportedOps: Turing is named, and the model has such nodes; all of them are listed.
    """
    if target.backend != RTX:
        return ()
    if TURING in target.suffixes and (refusals := _beyond_turing(model)):
        raise UnsupportedOps(str(target), refusals)
    return target.suffixes or tuple(name for name in capable(CAPABILITIES, target.precision) if name != TURING)


def check(target: Target, options: EngineOptions, no_gpu: str | None) -> None:
    """Raise BadInput for what TensorRT-RTX cannot be asked: it fails in its midst, or silently does nothing.

    Args:
        no_gpu: why there is no GPU here, None where there is one.
    """
    if target.backend != RTX:
        return
    if options.hardware:
        hint = f"name the GPUs: --target {target.base}:{'+'.join(capable(CAPABILITIES, target.precision)[-2:])}"
        raise _cannot("its engines run on every GPU that they are compiled for", "--hardware-compatible", hint)
    if options.version_compatible:
        hint = "build again with each version, or use a trt target on the GPU machine"
        raise _cannot("it has no lean runtime, so an engine is bound to its version", "--version-compatible", hint)
    if options.refit and no_gpu:
        hint = "build it on a machine with a GPU: --defer seals a package for it"
        raise _cannot(f"it cannot make refittable engines without a GPU ({no_gpu})", "--refit", hint)


def _cannot(reason: str, option: str, hint: str) -> BadInput:
    return BadInput(f"TensorRT-RTX does not take it: {reason}", where=option, hint=hint)


def _beyond_turing(model: ir.Model) -> tuple[Refusal, ...]:
    """The nodes that TensorRT-RTX has no kernels for on Turing."""
    hint = f"leave {TURING} out, or build fp16"
    return tuple(
        Refusal(node.name or "?", node.op_type, f"TensorRT-RTX has no float32 {what} for {TURING}", hint)
        for node in model.graph
        if _dtype(node) in (ir.DataType.FLOAT, None) and (what := _kind(node))
    )


def _dtype(node: ir.Node) -> ir.DataType | None:
    """What a node computes in: its output's type, or where that is not known an input's."""
    values = [*node.outputs, *(value for value in node.inputs if value is not None)]
    return next((value.dtype for value in values if value.dtype is not None), None)


def _kind(node: ir.Node) -> str:
    """What of a node Turing lacks in float32."""
    if node.op_type in _PRODUCTS and len(node.inputs) > 1:
        return "matrix products"
    return "3-D convolutions" if node.op_type in _CONVOLUTIONS and ir.rank(node.inputs[0]) == 5 else ""
