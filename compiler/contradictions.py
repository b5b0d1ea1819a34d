"""Sizes that must agree and that ONNX's shape inference does not compare: channels with weights."""

from __future__ import annotations

from effc.compiler import ir
from effc.core.errors import BadInput


def refuse(model: ir.Model, where: str) -> None:
    """Raise BadInput naming the first node whose input has other channels than its weight."""
    for node in model.graph:
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
