"""Emission: the model as `model.onnx`, with quantized inputs and outputs where the native interface is wanted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from effc.backends.base import Emitted
from effc.compiler import ir
from effc.core.manifest import TensorInfo

FILE_NAME = "model.onnx"
Steps = dict[str, tuple[float, int]]


def emit(model: ir.Model, folder: Path, *, native: bool) -> Emitted:
    """Write the model into `folder`; its bytes depend on the model alone.

    Args:
        native: inputs and outputs that have Q/DQ become the quantized tensors themselves.
    """
    model = model.clone()
    steps = {**_quantized_inputs(model.graph), **_quantized_outputs(model.graph)} if native else {}
    ir.prune(model)
    ir.save(model, folder / FILE_NAME)
    files = tuple(p.name for p in (folder / FILE_NAME, folder / f"{FILE_NAME}.data") if p.exists())
    inputs, outputs = (
        tuple(_info(value, steps) for value in values) for values in (model.graph.inputs, model.graph.outputs)
    )
    return Emitted(FILE_NAME, files, inputs, outputs)


def _quantized_inputs(graph: ir.Graph) -> Steps:
    """Drop QuantizeLinear behind each input that only it takes; the input keeps its name and becomes integer."""
    steps: Steps = {}
    for value in graph.inputs:
        users = [use.node for use in value.uses()]
        if len(users) != 1 or users[0].op_type != "QuantizeLinear" or (found := _step(users[0])) is None:
            continue
        held = users[0].outputs[0]
        value.type = held.type
        ir.replace_uses(held, value)
        ir.remove(graph, [users[0]])
        steps[value.name or ""] = found
    return steps


def _quantized_outputs(graph: ir.Graph) -> Steps:
    """Drop DequantizeLinear before each output that nothing else takes; the output keeps its name."""
    steps: Steps = {}
    for position, value in enumerate(graph.outputs):
        node = value.producer()
        if node is None or node.op_type != "DequantizeLinear" or value.uses() or (found := _step(node)) is None:
            continue
        held = node.inputs[0]
        if held is None or held.producer() is None or held.is_graph_output():
            continue
        name, value.name = value.name, f"{value.name}__float"
        held.name, graph.outputs[position] = name, held
        held.shape = held.shape or value.shape
        ir.remove(graph, [node])
        steps[name or ""] = found
    return steps


def _step(node: ir.Node) -> tuple[float, int] | None:
    """Scale and zero point of a per-tensor Q or DQ."""
    scale = ir.const(node.inputs[1])
    zero = ir.const(node.inputs[2]) if len(node.inputs) > 2 else np.zeros((), np.uint8)
    if scale is None or zero is None or scale.size != 1:
        return None
    return float(np.ravel(scale)[0]), int(np.ravel(zero)[0])


def _info(value: ir.Value, steps: Steps) -> TensorInfo:
    scale, zero = steps.get(value.name or "", (None, None))
    return replace(ir.info(value), scale=scale, zero_point=zero)
