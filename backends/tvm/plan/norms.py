"""Layer normalization put together from the nodes that compute it, so that it becomes one kernel."""

from __future__ import annotations

import numpy as np

from effc.compiler import ir
from effc.compiler.passes.rewrite import constant, each, input_at, is_float, maker, only_reader, replace, scalar


def normalized(model: ir.Model) -> ir.Model:
    """The model, edited: LayerNormalization in place of its parts, where the last axis alone is normalized."""
    if each(layer_norm, "Div")(model):
        ir.prune(model)
    return model


def layer_norm(node: ir.Node) -> bool:
    """`(x - mean) / sqrt(mean((x - mean)^2) + eps) * scale + bias` is LayerNormalization(x, scale, bias)."""
    centred, root = maker(node.inputs[0], "Sub"), maker(node.inputs[1], "Sqrt")
    found = _variance(root.inputs[0], centred) if root is not None and centred is not None else None
    if found is None or centred is None or not is_float(node.outputs[0]):
        return False
    x, size = centred.inputs[0], (ir.shape(node.outputs[0]) or ("?",))[-1]
    if not isinstance(size, int) or not _is_mean(centred.inputs[1], x):
        return False
    scale_node, scale = _row_behind(node, "Mul", size)
    bias_node, bias = _row_behind(scale_node, "Add", size)
    ones = constant(node, "scale", np.ones(size, ir.numpy_dtype(node.outputs[0]))) if scale is None else scale
    return replace(bias_node, "LayerNormalization", [x, ones, bias], {"axis": -1, "epsilon": found})


def _variance(value: ir.Value | None, centred: ir.Node) -> float | None:
    """eps where the value is `mean(centred^2) + eps`."""
    add = maker(value, "Add")
    if add is None:
        return None
    epsilon, mean = scalar(add.inputs[1]), maker(add.inputs[0], "ReduceMean")
    square = maker(mean.inputs[0], "Pow", "Mul") if mean is not None else None
    if epsilon is None or mean is None or square is None or not _is_over_last(mean):
        return None
    same = [_is_centred(v, centred) for v in square.inputs]
    squared = all(same) if square.op_type == "Mul" else same[0] and scalar(square.inputs[1]) == 2.0
    return epsilon if squared else None


def _is_centred(value: ir.Value | None, centred: ir.Node) -> bool:
    node = maker(value, "Sub")
    return node is not None and list(node.inputs) == list(centred.inputs)


def _is_mean(value: ir.Value | None, x: ir.Value | None) -> bool:
    mean = maker(value, "ReduceMean")
    return mean is not None and mean.inputs[0] is x and _is_over_last(mean)


def _is_over_last(node: ir.Node) -> bool:
    axes = ir.const(input_at(node, 1))
    rank = len(ir.shape(node.inputs[0]) or ())
    last = axes is not None and [int(a) % rank for a in axes.ravel()] == [rank - 1]
    return last and ir.attr_int(node, "keepdims", 1) == 1


def _row_behind(node: ir.Node, op: str, size: int) -> tuple[ir.Node, ir.Value | None]:
    """The node's only reader and its operand, where it is this op with a constant row; else the node itself."""
    reader = only_reader(node.outputs[0])
    if reader is None or reader.op_type != op:
        return node, None
    for value in reader.inputs:
        array = ir.const(value)
        if array is not None and array.shape == (size,) and array.dtype in (np.float32, np.float16):
            return reader, value
    return node, None
