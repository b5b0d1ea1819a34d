"""Networks that no package ships, written out here with seeded weights: for timing, not for their answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

_STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
_BLOCKS = 2
_CLASSES = 1000


def resnet18() -> bytes:
    """ResNet-18 (arXiv:1512.03385, table 1), batch norm folded, He-initialized, [N, 3, 224, 224] to 1000 logits."""
    return bytes(_Network().written().SerializeToString())


@dataclass
class _Network:
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    seeded: np.random.Generator = field(default_factory=lambda: np.random.default_rng(18))

    def written(self) -> onnx.ModelProto:
        from onnx import TensorProto, helper

        last = self._classified(self._body("x"))
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 224, 224])
        y = helper.make_tensor_value_info(last, TensorProto.FLOAT, ["N", _CLASSES])
        graph = helper.make_graph(self.nodes, "resnet18", [x], [y], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def _body(self, x: str) -> str:
        x = self._node("Relu", self._conv(x, (3, 64), 7, 2))
        x = self._node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        channels = 64
        for width, stride in self._widths():
            x = self._block(x, (channels, width), stride)
            channels = width
        return x

    def _widths(self) -> Iterator[tuple[int, int]]:
        for width, stride in _STAGES:
            yield width, stride
            yield from ((width, 1) for _ in range(_BLOCKS - 1))

    def _block(self, x: str, channels: tuple[int, int], stride: int) -> str:
        """`relu(conv(relu(conv(x))) + shortcut(x))`."""
        width = channels[1]
        inner = self._node("Relu", self._conv(x, channels, 3, stride))
        sum_of = self._conv(inner, (width, width), 3, 1, gain=0.3)
        shortcut = x if stride == 1 and channels[0] == width else self._conv(x, channels, 1, stride)
        return self._node("Relu", self._node("Add", sum_of, shortcut))

    def _classified(self, x: str) -> str:
        pooled = self._node("Flatten", self._node("GlobalAveragePool", x))
        weight = self._weight((_CLASSES, 512), (2 / 512) ** 0.5)
        return self._node("Gemm", pooled, weight, self._weight((_CLASSES,), 0.1), transB=1)

    def _conv(self, x: str, channels: tuple[int, int], side: int, stride: int, gain: float = 1.0) -> str:
        given, made = channels
        weight = self._weight((made, given, side, side), gain * (2 / (given * side * side)) ** 0.5)
        half = side // 2
        attributes: dict[str, Any] = {"kernel_shape": [side, side], "strides": [stride, stride], "pads": [half] * 4}
        return self._node("Conv", x, weight, self._weight((made,), 0.1), **attributes)

    def _weight(self, shape: tuple[int, ...], deviation: float) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        array = (self.seeded.standard_normal(shape, dtype=np.float32) * np.float32(deviation)).astype(np.float32)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def _node(self, op: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name
