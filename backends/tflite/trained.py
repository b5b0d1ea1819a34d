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


def signed(node: ir.Node) -> bool:
    """Q/DQ in uint8 with zero point z is Q/DQ in int8 with zero point z - 128."""
    if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or ir.const(node.inputs[1]) is None:
        return False
    if node.op_type == "QuantizeLinear" and node.outputs[0].dtype == ir.DataType.UINT8:
        readers = list(node.outputs[0].consumers())
        if node.outputs[0].is_graph_output() or any(r.op_type != "DequantizeLinear" for r in readers):
            return False
        node.outputs[0].name = ir.fresh_name(graph_of(node), f"{node.outputs[0].name}_signed")
        node.outputs[0].type = None
        return all([_lower_zero_point(n) for n in (node, *readers)])
    stored = ir.const(node.inputs[0]) if node.op_type == "DequantizeLinear" else None
    if stored is None or stored.dtype != np.uint8:
        return False
    shifted = (np.asarray(stored, np.int16) - 128).astype(np.int8)
    node.replace_input_with(0, Before(node).const("signed", shifted))
    return _lower_zero_point(node)


def _lower_zero_point(node: ir.Node) -> bool:
    """Take 128 off a uint8 zero point, which is 0 where it is left out."""
    given = node.inputs[2] if len(node.inputs) > 2 else None
    scale = np.asarray(ir.const(node.inputs[1]))
    zero = np.zeros(scale.shape, np.uint8) if given is None else np.asarray(ir.const(given))
    value = Before(node).const("zero_point", (zero.astype(np.int16) - 128).astype(np.int8))
    node.attributes.pop("output_dtype", None)
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, value)
    return True
