"""What a file need not say: constants of one value in full, windows as ONNX assumes them."""

from __future__ import annotations

import numpy as np
import onnx_ir

from effc.compiler import ir
from effc.compiler.passes import windows

_USUAL = {"strides": 1, "dilations": 1, "pads": 0, "output_padding": 0, "group": 1}
"""Of every element of these attributes the value that is assumed where they are left out."""


def compact(model: ir.Model, room: int | None) -> int:
    """Turn splats into nodes, in place, all but the smallest, as far as these fit into `room` bytes (None: all fit).

    Returns the number of nodes.
    """
    if room is None:
        return 0
    graph, count = model.graph, 0
    for value in sorted(_splats(graph), key=_bytes):
        if (size := _bytes(value)) <= room:
            room -= size
        else:
            _to_node(graph, value)
            count += 1
    return count


def terse(model: ir.Model) -> None:
    """Leave out attributes of convolutions and pools that ONNX assumes anyway, and weights' types but for their own."""
    for value in model.graph.initializers.values():
        if not value.is_graph_output():
            value.shape = value.type = None
    for node in model.graph:
        if node.op_type in windows.OPS and node.domain in ("", "ai.onnx"):
            for name, usual in _USUAL.items():
                held = node.attributes.get(name)
                if held is not None and set(np.atleast_1d(held.value)) == {usual}:
                    del node.attributes[name]


def _splats(graph: ir.Graph) -> list[ir.Value]:
    return [v for v in graph.initializers.values() if (a := ir.const(v)) is not None and ir.is_splat(a)]


def _bytes(value: ir.Value) -> int:
    return 0 if value.const_value is None else value.const_value.nbytes


def _to_node(graph: ir.Graph, value: ir.Value) -> None:
    array, name = ir.const(value), value.name or "constant"
    assert array is not None
    dims = ir.initializer(graph, f"{name}_shape", np.array(array.shape, np.int64))
    node = ir.node("ConstantOfShape", [dims], {"value": onnx_ir.tensor(array.flat[:1])})
    made = node.outputs[0]
    made.type, made.shape = value.type, value.shape
    graph.insert_before(graph[0], node)
    ir.replace_uses(value, made)
    del graph.initializers[name]
    made.name = name
