"""Widen: narrow(f(x)) in float32, where narrow is the rounding to the type that the graph states.

ONNX Runtime computes float16 nodes in float32 and does not round between them, and has no bfloat16 kernels; casts that
stand in the graph it keeps. So the typed graph becomes one of float32 nodes with a cast there and back behind each.
"""

from __future__ import annotations

import numpy as np
import onnx_ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from effc.compiler import ir, settle, walk
from effc.compiler.extents import MOVES

NARROW = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
_EXACT = MOVES | {"MaxPool", "GlobalMaxPool", "Relu", "Neg", "Abs", "Max", "Min", "TopK", "ReduceMax", "ReduceMin"}
"""Ops whose results are as narrow as their inputs without being rounded."""


def widen(model: ir.Model) -> ir.Model:
    """A new model that computes in float32 what `model` states in float16 or bfloat16, roundings included.

    Inputs and outputs of these types become float32; inputs are rounded first, outputs hold rounded values.
    Other types, float8 and Q/DQ among them, stay.
    """
    wide = model.clone()
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(wide)
    settle.settle(wide, where="widen")  # all types are stated then
    for graph in (wide.graph, *walk.inner_graphs(wide.graph)):
        for value in graph.initializers.values():
            _widen_constant(value)
        for value in graph.inputs:
            if value.dtype in NARROW:
                _round(graph, value, value.dtype)
        for node in list(graph):
            _widen_node(graph, node)
    settle.settle(wide, where="widen")
    return wide


def _widen_constant(value: ir.Value) -> None:
    if value.dtype in NARROW and value.const_value is not None:
        value.const_value = onnx_ir.tensor(value.const_value.numpy().astype(np.float32), name=value.name)
        ir.retype(value, ir.DataType.FLOAT)


def _widen_node(graph: ir.Graph, node: ir.Node) -> None:
    _widen_attributes(node)
    for value in node.outputs:
        if value.dtype not in NARROW:
            continue
        if node.op_type in _EXACT:
            ir.retype(value, ir.DataType.FLOAT)
        else:
            if node.op_type == "Cast":
                node.attributes["to"] = onnx_ir.AttrInt64("to", int(ir.DataType.FLOAT))
            _round(graph, value, value.dtype)


def _widen_attributes(node: ir.Node) -> None:
    """What a node makes of no input, its attributes tell the type of."""
    dtype, fill = node.attributes.get("dtype"), node.attributes.get("value")
    if dtype is not None and dtype.as_int() in NARROW:
        node.attributes["dtype"] = onnx_ir.AttrInt64("dtype", int(ir.DataType.FLOAT))
    if fill is not None and fill.type == onnx_ir.AttributeType.TENSOR and fill.as_tensor().dtype in NARROW:
        wide = onnx_ir.tensor(fill.as_tensor().numpy().astype(np.float32))
        node.attributes["value"] = onnx_ir.AttrTensor("value", wide)


def _round(graph: ir.Graph, value: ir.Value, dtype: ir.DataType | None) -> None:
    """Make `value` float32; whoever reads it, or the graph output that it is, takes it rounded to `dtype`."""
    if dtype is None:
        return
    ir.retype(value, ir.DataType.FLOAT)
    uses, maker = list(value.uses()), value.producer()
    down = _cast(value, value, dtype)
    up = _cast(value, down.outputs[0], ir.DataType.FLOAT)
    if maker is None:
        graph.insert_before(graph[0], [down, up])
    else:
        graph.insert_after(maker, [down, up])
    for use in uses:
        use.node.replace_input_with(use.idx, up.outputs[0])
    if maker is not None and value.is_graph_output():  # an input that leaves as it came keeps its name
        graph.outputs[:] = [up.outputs[0] if output is value else output for output in graph.outputs]
        value.name, up.outputs[0].name = up.outputs[0].name, value.name


def _cast(value: ir.Value, source: ir.Value, dtype: ir.DataType) -> ir.Node:
    node = ir.node("Cast", [source], {"to": int(dtype)})
    made = node.outputs[0]
    node.name = made.name = f"{value.name}/{'to' if source is value else 'from'}_{dtype.name.lower()}"
    made.type, made.shape = onnx_ir.TensorType(dtype), value.shape
    return node
