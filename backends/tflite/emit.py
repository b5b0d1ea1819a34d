"""Emission: a legalized, perhaps quantized, model to the bytes of a .tflite file."""

from __future__ import annotations

from dataclasses import dataclass

from effc.backends.tflite.emitter import Call, Emitter
from effc.backends.tflite.layout import held_last, solve
from effc.backends.tflite.ops.table import TABLE
from effc.backends.tflite.plan import QUANTIZE, is_quantized, plan
from effc.backends.tflite.writer import TensorSpec, Writer
from effc.compiler import ir
from effc.core.manifest import TensorInfo


@dataclass(frozen=True)
class Written:
    """The file's bytes, its interface, and which node runs in which precision."""

    data: bytes
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    precision: dict[str, str]


def emit(model: ir.Model, *, native: bool) -> Written:
    """Write the model; `native` gives channels-last int8 inputs and outputs where the graph has them."""
    from effc.backends.tflite import ops  # noqa: F401  (fills the table)

    graph = model.graph
    emitter = Emitter(Writer(graph.name or "main"), solve(graph, native=native))
    inputs = {v.name or "": _define_input(emitter, v, native) for v in graph.inputs}
    precision = {}
    for planned in plan(graph):
        call = Call(emitter, planned)
        TABLE[planned.node.op_type].function(call)
        call.finish()
        precision[planned.node.name or ""] = "int8" if planned.integer else "float32"
    outputs = {v.name or "": _finish_output(emitter, v, native) for v in graph.outputs}
    data = emitter.writer.finish({n: i for n, (i, _) in inputs.items()}, {n: i for n, (i, _) in outputs.items()})
    interface = [tuple(info for _, info in side.values()) for side in (inputs, outputs)]
    return Written(data, interface[0], interface[1], precision)


def _define_input(emitter: Emitter, value: ir.Value, native: bool) -> tuple[int, TensorInfo]:
    """Add a graph input; a native one is what all its readers quantize it to."""
    quantizers = list(value.consumers())
    integer = native and bool(quantizers) and all(n.op_type == QUANTIZE for n in quantizers)
    integer = integer and not value.is_graph_output()
    held = quantizers[0].outputs[0] if integer else value
    last = held_last(value, native=native)
    index = emitter.define(held, last=last)
    for other in quantizers[1:] if integer else ():
        emitter.alias(other.outputs[0], held, last=last)
    return index, _info(emitter, value, held, last)


def _finish_output(emitter: Emitter, value: ir.Value, native: bool) -> tuple[int, TensorInfo]:
    """The tensor of a graph output; a native one stays quantized."""
    producer = value.producer()
    integer = native and is_quantized(value) and producer is not None
    held = producer.inputs[0] or value if integer and producer is not None else value
    last = held_last(value, native=native)
    index = emitter.tensor(held, last=last)
    if value.is_graph_input():
        index = emitter.copy(held, index, last=last)  # a file may not name one tensor as input and output
    return index, _info(emitter, value, held, last)


def _info(emitter: Emitter, value: ir.Value, held: ir.Value, last: bool) -> TensorInfo:
    """The interface entry: the ONNX name, and the layout and quantization in which the tensor is held."""
    spec: TensorSpec = emitter.spec(held, last=last)
    names = ir.shape(value) or ()
    order = [names[i] for i in ([0, *range(2, len(names)), 1] if last else range(len(names)))]
    spatial = "XXXDHW"[2 - len(names) :]
    layout = f"N{spatial}C" if last else "NCHW" if len(names) == 4 else ""
    quant = spec.quant
    return TensorInfo(
        value.name or "",
        spec.dtype,
        tuple(order),
        layout,
        None if quant is None else quant.scales[0],
        None if quant is None else quant.zero_points[0],
    )
