"""Q/DQ that came with the model (quantization-aware training), written in another form of the same numbers."""

from __future__ import annotations

import numpy as np

from effc.compiler import ir
from effc.compiler.edit import Before
from effc.compiler.passes.rewrite import graph_of


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


def float_bias(node: ir.Node) -> bool:
    """DequantizeLinear of an int32 constant, a bias, is the constant (q - z) s."""
    held = ir.const(node.inputs[0]) if node.op_type == "DequantizeLinear" else None
    if held is None or held.dtype != np.int32 or node.outputs[0].is_graph_output():
        return False
    scale = ir.const(node.inputs[1])
    zero = ir.const(node.inputs[2]) if len(node.inputs) > 2 else np.zeros((), np.int32)
    if scale is None or zero is None or scale.ndim > 1:
        return False
    axis = ir.attr_int(node, "axis", 1) % max(held.ndim, 1)
    along = [-1 if i == axis else 1 for i in range(held.ndim)] if scale.ndim else []
    steps = np.asarray(held, np.float64) - np.asarray(zero, np.float64).reshape(along if zero.ndim else ())
    real = Before(node).const("float", (steps * np.asarray(scale, np.float64).reshape(along)).astype(np.float32))
    ir.replace_uses(node.outputs[0], real)
    ir.remove(graph_of(node), [node])
    return True
