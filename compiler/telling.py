"""The numbers that decide what a graph does with its integer inputs: what it compares them with, its tables' ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from effc.compiler import mapped
from effc.compiler.protos import subgraphs

_MOST_ELEMENTS = 16
"""Of a constant whose numbers are told."""
_COMPARED = {"Equal": (0, 1), "Less": (-1, 0), "LessOrEqual": (0, 1), "Greater": (0, 1), "GreaterOrEqual": (-1, 0)}
"""The two neighbours, beside the constant, that a comparison of the input with it tells apart."""
_MIRRORED = {"Less": "Greater", "LessOrEqual": "GreaterOrEqual", "Greater": "Less", "GreaterOrEqual": "LessOrEqual"}
_MOVES = ("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile")
_PARTS = ("Concat", "Gather", "ReduceMax", "ReduceMin", "Slice")
"""Ops whose outputs hold numbers of their data inputs, all or some of them."""
_LOOKUPS = ("Gather", "GatherElements")
_SHIFTS = {"Add": 1, "Sub": -1}
_COPIES = ("Identity", "Cast", "DequantizeLinear")
"""Ops whose output has the shape of the first input."""


@dataclass(frozen=True)
class Telling:
    """What is to be tried of one input.

    Attributes:
        numbers: those at which the graph may take another way, in the order in which it looks.
        below: all smaller ones from 0 on lie in every table that the input indexes; None where it indexes none.
    """

    numbers: tuple[int, ...] = ()
    below: int | None = None


def telling(graph: onnx.GraphProto) -> dict[str, Telling]:
    """What is to be tried of each input of integers or booleans that decides anything. Constants are read inline."""
    seen = _Seen({v.name: (v.name, 0.0) for v in graph.input if _is_whole(v)})
    if seen.sources:
        seen.look(graph)
    return {name: Telling(tuple(dict.fromkeys(numbers)), seen.below.get(name)) for name, numbers in seen.told.items()}


def merged(one: Mapping[str, Telling], other: Mapping[str, Telling]) -> dict[str, Telling]:
    """What is to be tried of two graphs with the same inputs."""
    found = dict(one)
    for name, more in other.items():
        old = found.get(name, more)
        limits = [limit for limit in (old.below, more.below) if limit is not None]
        found[name] = Telling(tuple(dict.fromkeys(old.numbers + more.numbers)), min(limits, default=None))
    return found


def _is_whole(value: onnx.ValueInfoProto) -> bool:
    kind = value.type.tensor_type.elem_type
    if kind not in onnx.helper.get_all_tensor_dtypes():
        return False
    return onnx.helper.tensor_dtype_to_np_dtype(kind).kind in "iub"


@dataclass
class _Seen:
    """One walk over a graph.

    Attributes:
        sources: by value, the input whose numbers it holds, and what was added to them.
        constants: small ones.
        dims: of all constants.
        told, below: by input.
    """

    sources: dict[str, tuple[str, float]]
    constants: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    dims: dict[str, tuple[int, ...]] = field(default_factory=dict)
    told: dict[str, list[int]] = field(default_factory=dict)
    below: dict[str, int] = field(default_factory=dict)

    def look(self, graph: onnx.GraphProto) -> None:
        """Look at all nodes, those of branches and loop bodies included: names are never used twice."""
        for tensor in graph.initializer:
            self._hold(tensor.name, tensor)
        for node in graph.node:
            self._follow(node)
            self._decisions(node)
            for inner in subgraphs(node):
                self.look(inner)

    def _hold(self, name: str, tensor: TensorProto) -> None:
        self.dims[name] = tuple(tensor.dims)
        inline = mapped.place(tensor) is None and tensor.data_location != TensorProto.EXTERNAL
        if inline and math.prod(tensor.dims) <= _MOST_ELEMENTS and tensor.data_type != TensorProto.STRING:
            array = numpy_helper.to_array(tensor)
            if array.dtype.kind in "fiub":
                self.constants[name] = array.astype(np.float64).ravel()

    def _follow(self, node: onnx.NodeProto) -> None:
        """What the node's output holds."""
        output = next(iter(node.output), "")
        if node.op_type == "Constant":
            self._hold(output, _constant(node))
            return
        first = next(iter(node.input), "")
        if node.op_type in _COPIES and first in self.dims:
            self.dims[output] = self.dims[first]
        if node.op_type in _MOVES + _PARTS:
            if first in self.constants:
                self.constants[output] = self.constants[first]
            if (source := self._source(node)) is not None:
                self.sources[output] = source
        elif node.op_type in _SHIFTS:
            self._shift(node, output)

    def _source(self, node: onnx.NodeProto) -> tuple[str, float] | None:
        data = node.input if node.op_type == "Concat" else node.input[:1]
        return next((self.sources[name] for name in data if name in self.sources), None)

    def _shift(self, node: onnx.NodeProto, output: str) -> None:
        for moved, by in self._pairs(node):
            constant = self.constants[by]
            if constant.size == 1 and (node.op_type == "Add" or moved == node.input[0]):
                name, shift = self.sources[moved]
                self.sources[output] = name, shift + _SHIFTS[node.op_type] * float(constant[0])

    def _pairs(self, node: onnx.NodeProto) -> Iterator[tuple[str, str]]:
        """An input's numbers, and the constant that the node brings together with them."""
        if len(node.input) == 2:
            for one, other in (node.input, node.input[::-1]):
                if one in self.sources and other in self.constants:
                    yield one, other

    def _decisions(self, node: onnx.NodeProto) -> None:
        first = next(iter(node.input), "")
        if node.op_type in _COMPARED:
            for given, constant in self._pairs(node):
                op = node.op_type if given == first else _MIRRORED.get(node.op_type, node.op_type)
                for number in filter(math.isfinite, np.unique(self.constants[constant])):
                    self._tell(given, *(math.floor(number) + step for step in _COMPARED[op]))
        elif node.op_type in _LOOKUPS:
            self._look_up(node)
        elif first in self.sources and (node.op_type in ("If", "Where") or _is_to_bool(node)):
            self._tell(first, 0, 1)

    def _look_up(self, node: onnx.NodeProto) -> None:
        table, index = self.dims.get(node.input[0]), node.input[1]
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        if not table or not -len(table) <= axis < len(table) or index not in self.sources:
            return
        name, shift = self.sources[index]
        self._tell(index, table[axis] - 1, -1)
        limit = math.floor(table[axis] - shift)
        self.below[name] = min(limit, self.below.get(name, limit))

    def _tell(self, value: str, *numbers: int) -> None:
        name, shift = self.sources[value]
        self.told.setdefault(name, []).extend(math.floor(number - shift) for number in numbers)


def _is_to_bool(node: onnx.NodeProto) -> bool:
    return node.op_type == "Cast" and any(a.name == "to" and a.i == TensorProto.BOOL for a in node.attribute)


def _constant(node: onnx.NodeProto) -> TensorProto:
    """What a Constant node holds; an empty tensor where it is of a form that decides nothing."""
    for attribute in node.attribute:
        if attribute.name == "value":
            held: TensorProto = attribute.t
            return held
        if attribute.name in ("value_int", "value_ints", "value_float", "value_floats"):
            return numpy_helper.from_array(np.asarray(onnx.helper.get_attribute_value(attribute)))
    return numpy_helper.from_array(np.empty(0))
