"""What ONNX's shape inference does not look at: channels that do not fit weights, ways to pad that do not exist."""

from __future__ import annotations

import math

from effc.compiler import ir
from effc.core.errors import BadInput

_AUTO_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


_MOST_ELEMENTS = 1 << 40
"""No machine holds a tensor of so many."""


def refuse(model: ir.Model, where: str) -> None:
    """Raise BadInput naming the first node whose input has other channels than its weight, or that pads in no way.

    So do tensors that no machine can hold: they are a damaged number, or meant to do harm.
    """
    _refuse_immense(model, where)
    for node in model.graph:
        if not node.domain and (way := ir.attr_str(node, "auto_pad", "NOTSET")) not in _AUTO_PADS:
            what = f"auto_pad {way!r} is none of {', '.join(_AUTO_PADS)}"
            raise BadInput(what, where=f"{where}, node {node.op_type} {node.name!r}")
        sizes = _sizes(node)
        if sizes is not None and sizes[0] != sizes[1]:
            what = f"its input has {sizes[0]} channels, its weight is made for {sizes[1]}"
            raise BadInput(f"shapes contradict each other: {what}", where=f"{where}, node {node.op_type} {node.name!r}")


def _sizes(node: ir.Node) -> tuple[int, int] | None:
    """(channels of the input, channels that the weight takes), where the node has both and they are numbers."""
    if node.op_type not in ("Conv", "ConvTranspose", "BatchNormalization") or node.domain:
        return None
    dims, weight = ir.shape(node.inputs[0]), ir.static_shape(node.inputs[1])
    if dims is None or len(dims) < 2 or not isinstance(dims[1], int) or not weight:
        return None
    if node.op_type == "Conv":
        return dims[1], weight[1] * ir.attr_int(node, "group", 1)
    return dims[1], weight[0]


def _refuse_immense(model: ir.Model, where: str) -> None:
    for value in ir.values(model.graph):
        dims = ir.static_shape(value)
        if dims is not None and (size := math.prod(dims)) > _MOST_ELEMENTS:
            what = f"{value.name!r} would have {size} elements"
            raise BadInput(what, where=where, hint="fix the sizes, for inputs with --shape")
