"""Q/DQ that came with the model (quantization-aware training), in the form that int8 tensors can hold."""

from __future__ import annotations

import numpy as np

from effc.backends.tflite.emitter import quantize_array
from effc.compiler import ir
from effc.compiler.edit import Before
from effc.compiler.passes.rewrite import graph_of


def stored(node: ir.Node) -> bool:
    """QuantizeLinear of a constant is the integers that it gives: clip(round(x / scale) + zero_point)."""
    if node.op_type != "QuantizeLinear" or ir.attr_int(node, "block_size", 0):
        return False
    data, scale = ir.const(node.inputs[0]), ir.const(node.inputs[1])
    zero = ir.const(node.inputs[2]) if len(node.inputs) > 2 else np.zeros((), np.uint8)
    if data is None or scale is None or zero is None or zero.dtype not in (np.int8, np.uint8):
        return False
    if node.outputs[0].is_graph_output():
        return False
    integers = quantize_array(data, scale, zero, ir.attr_int(node, "axis", 1))
    ir.replace_uses(node.outputs[0], Before(node).const("stored", integers))
    ir.remove(graph_of(node), [node])
    return True
