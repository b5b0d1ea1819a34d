"""Windows: strides and paddings shared by convolutions and pools, as TFLite spells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from effc.backends.tflite.emitter import Call
from effc.backends.tflite.writer import TensorSpec
from effc.compiler import ir


@dataclass(frozen=True)
class Window:
    """Height and width of kernel, strides, dilations, and explicit padding (before, after) of each."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    before: tuple[int, int]
    after: tuple[int, int]

    @classmethod
    def of(cls, node: ir.Node, kernel: Sequence[int]) -> Window:
        """Read a node's attributes (explicit pads)."""
        pads = ir.attr_ints(node, "pads", (0, 0, 0, 0))
        return cls(
            _pair(kernel),
            _pair(ir.attr_ints(node, "strides", (1, 1))),
            _pair(ir.attr_ints(node, "dilations", (1, 1))),
            _pair(pads[:2]),
            _pair(pads[2:]),
        )

    def reach(self, axis: int) -> int:
        """The dilated kernel's extent."""
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1

    def fitted(self, inputs: Sequence[int], outputs: Sequence[int]) -> Window:
        """The window whose padding is exactly what the outputs read.

        Padding behind the last window's end is dropped; `ceil_mode` windows that end beyond the padding get more.
        """
        after = [
            max(0, (outputs[i] - 1) * self.strides[i] + self.reach(i) - inputs[i] - self.before[i]) for i in (0, 1)
        ]
        return Window(self.kernel, self.strides, self.dilations, self.before, (after[0], after[1]))

    def padding(self, inputs: Sequence[int]) -> str | None:
        """VALID or SAME where TFLite's own padding is this one, else None.

        SAME pads max((ceil(n / s) - 1) s + k - n, 0) elements, half of them, rounded down, before.
        """
        if self.before == (0, 0) and self.after == (0, 0):
            return "VALID"
        for axis in (0, 1):
            outputs = -(-inputs[axis] // self.strides[axis])
            total = max((outputs - 1) * self.strides[axis] + self.reach(axis) - inputs[axis], 0)
            if (self.before[axis], self.after[axis]) != (total // 2, total - total // 2):
                return None
        return "SAME"


def padded(call: Call, window: Window, fill: float | None = None) -> tuple[int, str]:
    """The input's tensor, padded by an own operator where TFLite's padding does not fit, and the padding to name.

    `fill` is the padding's value; None is zero (the zero point of an int8 tensor).
    """
    height, width = call.dims()[1:3]
    padding = window.padding((height, width))
    if padding == "VALID" or (padding == "SAME" and fill is None):
        return call.x(), padding
    (top, left), (bottom, right) = window.before, window.after
    batch, channels = call.dims()[0], call.dims()[3]
    target = call.temp("padded", (batch, height + top + bottom, width + left + right, channels), call.quant())
    pads = call.put("pads", np.asarray([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32))
    if fill is None:
        call.writer.op("PAD", (call.x(), pads), (target,), call.writer.options("Pad"), 2 if call.integer else 1)
    else:
        call.writer.op("PADV2", (call.x(), pads, _fill(call, fill)), (target,), call.writer.options("PadV2"), 2)
    return target, "VALID"


def _fill(call: Call, fill: float) -> int:
    quant = call.quant()
    if quant is None:
        return call.put("fill", np.asarray([fill], np.float32))
    low = np.asarray([-128], np.int8)
    return call.writer.constant(TensorSpec(f"{call.node.name}/fill", (1,), "int8", quant), low)


def _pair(numbers: Sequence[int]) -> tuple[int, int]:
    return int(numbers[0]), int(numbers[1])
