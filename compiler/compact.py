"""Large constants of one value are written as ConstantOfShape: a file does not grow by what one number tells."""

from __future__ import annotations

import numpy as np
import onnx_ir

from effc.compiler import ir


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
