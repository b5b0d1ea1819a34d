"""Graphs of any number of nodes, to see how time grows with it: an export's patterns over and over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_WIDTH = 8
_PER_BLOCK = 10
_NEAR = 7


def chain(nodes: int) -> onnx.ModelProto:
    """Blocks in a row: shape arithmetic into a Reshape, a cancelled Transpose, constants to be folded, a Relu."""
    graph = _Graph()
    value = "x"
    for _ in range(nodes // _PER_BLOCK):
        value = graph.block(value)
    return graph.written(value)


def dag(nodes: int) -> onnx.ModelProto:
    """The same blocks, each on the sum of the last value and one of the few before it."""
    graph = _Graph()
    values = ["x"]
    for index in range(nodes // (_PER_BLOCK + 1)):
        joined = graph.node("Add", values[-1], values[-1 - index % min(_NEAR, len(values))])
        values.append(graph.block(joined))
    return graph.written(values[-1])


SHAPES: Mapping[str, Callable[[int], onnx.ModelProto]] = {"chain": chain, "DAG": dag}


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        weights: Mapping[str, np.ndarray] = {
            "zero": np.array(0, np.int64),
            "axis": np.array([0], np.int64),
            "width": np.array([_WIDTH], np.int64),
            "half": np.full(_WIDTH, 0.5, np.float32),
        }
        self.weights = [numpy_helper.from_array(array, name) for name, array in weights.items()]

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def block(self, x: str) -> str:
        """Ten nodes: `Relu(0.5 - 0.5 * x)`, which neither grows nor dies out."""
        rows = self.node("Unsqueeze", self.node("Gather", self.node("Shape", x), "zero"), "axis")
        shaped = self.node("Reshape", x, self.node("Concat", rows, "width", axis=0))
        turned = self.node("Transpose", self.node("Transpose", shaped, perm=[1, 0]), perm=[1, 0])
        return self.node("Relu", self.node("Sub", "half", self.node("Mul", turned, "half")))

    def written(self, last: str) -> onnx.ModelProto:
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", _WIDTH]) for name in ("x", last))
        graph = helper.make_graph(self.nodes, "chain", [x], [y], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
