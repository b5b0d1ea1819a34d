"""Settled tensors: those that the input model quantizes itself (quantization-aware training)."""

from __future__ import annotations

import numpy as np

from effc.calibration.scheme import QParams
from effc.compiler import ir

Q, DQ = "QuantizeLinear", "DequantizeLinear"


def settled(value: ir.Value) -> QParams | None:
    """Parameters of the per-tensor Q/DQ around a tensor, None where there is none.

    A tensor is settled when DequantizeLinear makes it or QuantizeLinear takes it. Per-channel scales count by their
    largest, which serves for comparing only.
    """
    producer = value.producer()
    node = producer if producer is not None and producer.op_type == DQ else next(iter(quantizers(value)), None)
    return None if node is None else _parameters(node)


def is_dequantized(value: ir.Value) -> bool:
    """Whether DequantizeLinear makes the tensor."""
    producer = value.producer()
    return producer is not None and producer.op_type == DQ


def quantizers(value: ir.Value) -> list[ir.Node]:
    """QuantizeLinear nodes that take the tensor as their data."""
    return [use.node for use in value.uses() if use.node.op_type == Q and use.idx == 0]


def scales(value: ir.Value) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None:
    """The scale array of the DequantizeLinear that makes the tensor."""
    producer = value.producer()
    if producer is None or producer.op_type != DQ:
        return None
    found = ir.const(producer.inputs[1])
    return None if found is None else np.asarray(found, np.float64)


def _parameters(node: ir.Node) -> QParams | None:
    scale = ir.const(node.inputs[1])
    zero = ir.const(node.inputs[2]) if len(node.inputs) > 2 else None
    if scale is None or (len(node.inputs) > 2 and zero is None):
        return None
    point = int(np.ravel(zero)[0]) if zero is not None and zero.size else 0
    dtype = "uint8" if zero is None else str(zero.dtype)
    return QParams(float(np.max(scale)), point, dtype)
