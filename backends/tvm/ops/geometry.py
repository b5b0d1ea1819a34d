"""How windows move, from the attributes of convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effc.compiler import ir
from effc.compiler.ir import Array

if TYPE_CHECKING:
    from effc.backends.tvm.schedules.window import Axis


@dataclass(frozen=True)
class Side:
    """A window on one side of an image.

    Attributes:
        extent, size: inputs, outputs.
        taps, stride, dilation: of the window.
        before, after: padding.
    """

    extent: int
    size: int
    taps: int
    stride: int
    dilation: int
    before: int
    after: int


def axis(side: Side) -> Axis:
    """The side as the schedules have it."""
    from effc.backends.tvm.schedules.window import Axis

    return Axis(side.size, side.extent, side.taps, side.stride, side.dilation, side.before)


def flat(node: ir.Node) -> str | None:
    """Why a node's images are not of one or two known sides; None where they are."""
    for value in (node.inputs[0], node.outputs[0]):
        shape = (ir.shape(value) if value is not None else None) or ()
        if len(shape) not in (3, 4) or not all(isinstance(d, int) and d > 0 for d in shape[1:]):
            return "it is not one- or two-dimensional with known sides"
    return None


def sides(node: ir.Node, taps: Sequence[int], *, grows: bool = False) -> tuple[Side, Side]:
    """The vertical and the horizontal window; a sequence is an image of one row.

    Args:
        node: reads and makes images whose sides are known.
        taps: of the kernel.
        grows: whether it is a transposed convolution: its padding crops the output.
    """
    extents, sizes = (_image(v) for v in (node.inputs[0], node.outputs[0]))
    count = len(taps)
    strides, dilations = (ir.attr_ints(node, name, (1,) * count) for name in ("strides", "dilations"))
    given = ir.attr_ints(node, "pads", (0,) * (2 * count))
    extra = ir.attr_ints(node, "output_padding", (0,) * count)
    found = []
    for i in range(count):
        extent, size = extents[i - count], sizes[i - count]
        reach = (taps[i] - 1) * dilations[i] + 1
        wide, narrow = (extent, size - extra[i]) if grows else (size, extent)
        missing = (wide - 1) * strides[i] + reach - narrow
        before, after = _pads(node, (given[i], given[i + count]), missing)
        found.append(Side(extent, size, taps[i], strides[i], dilations[i], before, after))
    row = Side(1, 1, 1, 1, 1, 0, 0)
    return (found[0], found[1]) if count == 2 else (row, found[0])


def _image(value: ir.Value | None) -> tuple[int, ...]:
    assert value is not None
    return tuple(int(d) for d in (ir.shape(value) or ())[2:])


def _pads(node: ir.Node, given: tuple[int, int], missing: int) -> tuple[int, int]:
    """`auto_pad` (ONNX, Conv): SAME splits what the windows need, the odd one behind (UPPER) or in front (LOWER)."""
    missing = max(missing, 0)
    match ir.attr_str(node, "auto_pad", "NOTSET"):
        case "SAME_UPPER":
            return missing // 2, missing - missing // 2
        case "SAME_LOWER":
            return missing - missing // 2, missing // 2
        case "VALID":
            return 0, 0
        case _ if "output_shape" in node.attributes:
            return missing - missing // 2, missing // 2
        case _:
            return given


def square(weight: Array) -> Array:
    """Weights of a one-dimensional kernel as those of a two-dimensional one of height 1."""
    return weight[:, :, None, :] if weight.ndim == 3 else weight


FLOATS = ("float32", "float16")
"""What schedules compute in."""


def is_of(value: ir.Value | None, *kinds: str) -> bool:
    """Whether a value is of one of these element types."""
    return value is not None and str(ir.numpy_dtype(value)) in kinds
