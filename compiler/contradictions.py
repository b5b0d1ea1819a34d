"""What ONNX's checker and shape inference do not compare: channels with weights, sizes, words that no op knows."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from effc.compiler import ir
from effc.core.errors import BadInput

_MOST_ELEMENTS = 1 << 40
"""No machine holds a tensor of so many."""
_WORDS = {
    "auto_pad": ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"),
    "direction": ("forward", "reverse", "bidirectional"),
}
"""Attributes that take one of a few words, on the ops that have them."""
_WORDED = {
    "auto_pad": {"AveragePool", "Conv", "ConvInteger", "ConvTranspose", "LpPool", "MaxPool", "QLinearConv"},
    "direction": {"GRU", "LSTM", "RNN"},
}


def refuse(model: ir.Model, where: str) -> None:
    """Raise BadInput naming the first tensor or node that cannot be."""
    for value in ir.values(model.graph):
        dims = ir.static_shape(value)
        if dims is not None and (size := math.prod(dims)) > _MOST_ELEMENTS:
            raise BadInput(f"{value.name!r} would have {size} elements", where=where, hint="inputs get dims by --shape")
    for node in model.graph:
        wrong = None if node.domain else _unknown_word(node) or _CHECKS.get(node.op_type, _nothing)(node)
        if wrong:
            raise BadInput(
                f"shapes contradict each other: {wrong}", where=f"{where}, node {node.op_type} {node.name!r}"
            )


def _nothing(node: ir.Node) -> str | None:
    del node
    return None


def _unknown_word(node: ir.Node) -> str | None:
    for name, words in _WORDS.items():
        if node.op_type in _WORDED[name] and (found := ir.attr_str(node, name, words[0])) not in words:
            return f"{name} {found!r} is none of {', '.join(words)}"
    return None


def _channels(node: ir.Node) -> str | None:
    """The input has the channels that the weight takes."""
    dims, weight = ir.shape(node.inputs[0]), ir.static_shape(node.inputs[1])
    if dims is None or len(dims) < 2 or not isinstance(dims[1], int) or not weight:
        return None
    wanted = weight[1] * ir.attr_int(node, "group", 1) if node.op_type == "Conv" else weight[0]
    return None if dims[1] == wanted else f"its input has {dims[1]} channels, its weight is made for {wanted}"


def _elements(node: ir.Node) -> str | None:
    """Reshaping keeps the number of elements."""
    before, after = ir.static_shape(node.inputs[0]), ir.static_shape(node.outputs[0])
    if before is None or after is None or math.prod(before) == math.prod(after):
        return None
    return f"{list(before)} cannot be given the shape {list(after)}"


def _indices(node: ir.Node) -> str | None:
    """Constant indices lie within the axis."""
    dims, found = ir.shape(node.inputs[0]), ir.const(node.inputs[1])
    axis = ir.attr_int(node, "axis", 0)
    size = dims[axis] if dims and -len(dims) <= axis < len(dims) else None
    if found is None or not isinstance(size, int) or found.size == 0:
        return None
    low, high = int(np.min(found)), int(np.max(found))
    return None if -size <= low and high < size else f"indices {low} to {high} into an axis of {size}"


def _step(node: ir.Node) -> str | None:
    """A range goes somewhere."""
    step = ir.const(node.inputs[2])
    return "its step is 0" if step is not None and step.size == 1 and not step.any() else None


def _condition(node: ir.Node) -> str | None:
    """A loop's body says first whether to go on."""
    flag = node.attributes["body"].as_graph().outputs[0]
    wrong = flag.dtype not in (None, ir.DataType.BOOL)
    return f"its body's condition {flag.name!r} is no boolean" if wrong else None


_CHECKS: dict[str, Callable[[ir.Node], str | None]] = {
    "BatchNormalization": _channels,
    "Conv": _channels,
    "ConvTranspose": _channels,
    "Gather": _indices,
    "Loop": _condition,
    "Range": _step,
    "Reshape": _elements,
}
