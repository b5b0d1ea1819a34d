"""Writing Q/DQ nodes: real = scale * (q - zero_point)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from effc.calibration.formats import element
from effc.calibration.scheme import QParams
from effc.compiler import ir


class Writer:
    """Adds Q/DQ nodes to one graph, with names that are unique in it."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self._values = {v.name for v in ir.values(graph)}
        self._nodes = {n.name for n in graph}

    def constant(self, stem: str, array: NDArray[np.generic]) -> ir.Value:
        """A new initializer."""
        name = self._name(stem, self._values)
        value = ir.Value(
            name=name,
            type=onnx_ir.TensorType(ir.DataType.from_numpy(array.dtype)),
            shape=ir.Shape(array.shape),
            const_value=onnx_ir.tensor(np.asarray(array, order="C"), name=name),
        )
        self.graph.register_initializer(value)
        return value

    def pair(self, value: ir.Value, params: QParams, stem: str) -> tuple[ir.Node, ir.Node]:
        """QuantizeLinear and DequantizeLinear for `value`, not yet in the graph."""
        scale = self.constant(f"{stem}_scale", np.array(params.scale, np.float32))
        zero = self.constant(f"{stem}_zero_point", np.array(params.zero_point, element(params.dtype)))
        held = self._value(f"{stem}_quantized", ir.DataType.from_numpy(element(params.dtype)), value.shape)
        quantize = self._node("QuantizeLinear", [value, scale, zero], held)
        real = self._value(f"{stem}_dequantized", ir.DataType.FLOAT, value.shape)
        return quantize, self._node("DequantizeLinear", [held, scale, zero], real)

    def dequantized(
        self, stem: str, integers: NDArray[np.generic], scale: NDArray[np.float32], zero: NDArray[np.generic]
    ) -> tuple[ir.Node, ir.Value]:
        """A DequantizeLinear of new integer constants and the constant itself; the node is not yet in the graph."""
        held = self.constant(f"{stem}_quantized", integers)
        inputs = [held, self.constant(f"{stem}_scale", scale), self.constant(f"{stem}_zero_point", zero)]
        real = self._value(f"{stem}_dequantized", ir.DataType.FLOAT, ir.Shape(integers.shape))
        return self._node("DequantizeLinear", inputs, real), held

    def before(self, node: ir.Node, new: Iterable[ir.Node]) -> None:
        """Put new nodes before `node`."""
        self.graph.insert_before(node, list(new))

    def after_maker(self, value: ir.Value, new: Iterable[ir.Node]) -> None:
        """Put new nodes behind the one that makes `value`, or first when nothing makes it."""
        producer = value.producer()
        if producer is None:
            self.graph.insert_before(self.graph[0], list(new))
        else:
            self.graph.insert_after(producer, list(new))

    def _node(self, op: str, inputs: list[ir.Value], output: ir.Value) -> ir.Node:
        name = self._name(f"{output.name}/{op}", self._nodes)
        return onnx_ir.node(op, inputs, outputs=[output], name=name)

    def _value(self, stem: str, dtype: ir.DataType, shape: ir.Shape | None) -> ir.Value:
        return ir.Value(name=self._name(stem, self._values), type=onnx_ir.TensorType(dtype), shape=shape)

    @staticmethod
    def _name(stem: str, taken: set[str | None]) -> str:
        name, count = stem, 0
        while name in taken:
            count += 1
            name = f"{stem}_{count}"
        taken.add(name)
        return name


def with_axis(node: ir.Node, axis: int | None) -> ir.Node:
    """The DequantizeLinear with its channel axis; a scalar scale needs none."""
    if axis is not None:
        node.attributes["axis"] = onnx_ir.AttrInt64("axis", axis)
    return node
