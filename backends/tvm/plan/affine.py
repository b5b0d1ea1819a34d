"""What Q/DQ nodes say: a real value is `scale * (stored - zero point)`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from effc.compiler import ir
from effc.compiler.ir import Array
from effc.compiler.passes.rewrite import input_at

Q, DQ = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True)
class Affine:
    """A tensor behind DequantizeLinear.

    Attributes:
        stored: the integers.
        scale: one, or one for each place along `axis`.
        zero: the zero points, as many.
    """

    stored: ir.Value
    scale: NDArray[np.float32]
    zero: NDArray[np.int32]
    axis: int

    @property
    def single(self) -> bool:
        """Whether one scale holds for the whole tensor."""
        return self.scale.size == 1

    @property
    def parameters(self) -> tuple[float, int, str]:
        """Scale, zero point and type of a tensor with a single scale."""
        return float(self.scale.item()), int(self.zero.item()), str(ir.numpy_dtype(self.stored))

    def real(self) -> Array:
        """The dequantized constant."""
        held = np.asarray(ir.const(self.stored))
        dims = (
            (1,) * held.ndim
            if self.single
            else tuple(-1 if i == self.axis % held.ndim else 1 for i in range(held.ndim))
        )
        centred = held.astype(np.int64) - self.zero.reshape(dims)
        return (centred.astype(np.float32) * self.scale.reshape(dims)).astype(np.float32)


def dequantized(value: ir.Value | None) -> Affine | None:
    """What DequantizeLinear with constant parameters makes of which integers; None for any other value."""
    node = value.producer() if value is not None else None
    return None if node is None or node.op_type != DQ else of_node(node)


def of_node(node: ir.Node) -> Affine | None:
    """The parameters of a Q or DQ node, `stored` being its integers; None where they are computed, or by blocks."""
    scale = ir.const(node.inputs[1])
    given = input_at(node, 2)
    zero = ir.const(given)
    stored = node.inputs[0] if node.op_type == DQ else node.outputs[0]
    if stored is None or scale is None or scale.ndim > 1 or ir.attr_int(node, "block_size", 0):
        return None
    if (given is not None and zero is None) or scale.dtype != np.float32 or ir.numpy_dtype(stored) is None:
        return None
    points = np.zeros(scale.shape, np.int32) if zero is None else zero.astype(np.int32)
    return Affine(stored, scale.astype(np.float32), points, ir.attr_int(node, "axis", 1))


def is_single(node: ir.Node) -> bool:
    """Whether a Q or DQ node has one constant scale, and integers of 8 bits."""
    found = of_node(node)
    return (
        found is not None and found.single and ir.numpy_dtype(found.stored) in (np.dtype(np.int8), np.dtype(np.uint8))
    )


def activation(value: ir.Value | None) -> Affine | None:
    """The stored 8-bit tensor that a value is dequantized from, with a single scale; None where it is not."""
    found = dequantized(value)
    if found is None or not found.single or ir.const(found.stored) is not None:
        return None
    return found if ir.numpy_dtype(found.stored) in (np.dtype(np.int8), np.dtype(np.uint8)) else None


def weights(value: ir.Value | None) -> Affine | None:
    """The constant int8 tensor around 0 that a value is dequantized from; None where it is not."""
    found = dequantized(value)
    held = ir.const(found.stored) if found is not None else None
    return found if held is not None and held.dtype == np.int8 and found is not None and not found.zero.any() else None


def constant(value: ir.Value | None) -> Array | None:
    """A constant's real values, stored as floats or as integers; None for what is computed."""
    found = dequantized(value)
    if found is not None:
        return None if ir.const(found.stored) is None else found.real()
    return ir.const(value)
