"""Random models: DAGs of typed ops over several inputs, with broadcasting, open batches and many outputs.

An op is a function that takes what it needs from the graph, or leaves the graph as it is where nothing fits.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

FLOAT, HALF, INT, BOOL = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.BOOL
FLOATS = (FLOAT, HALF)
NUMBERS = (FLOAT, HALF, INT)
BATCH = "N"
MOST_ELEMENTS = 4000
INPUTS: tuple[tuple[str, int, tuple[int, ...]], ...] = (
    ("image", FLOAT, (4, 6, 6)),
    ("tokens", FLOAT, (5, 8)),
    ("row", FLOAT, (8,)),
    ("half", HALF, (5, 8)),
    ("ids", INT, (5,)),
    ("flags", BOOL, (5, 1)),
)

Dims = tuple[int | str, ...]
OPS: list[Callable[[Graph], None]] = []


def op(function: Callable[[Graph], None]) -> Callable[[Graph], None]:
    """Into the table."""
    OPS.append(function)
    return function


@dataclass(frozen=True)
class Value:
    """A tensor of the graph; `exact` where its floats came from the inputs without rounding, so may be compared."""

    name: str
    dtype: int
    dims: Dims
    exact: bool

    @property
    def rank(self) -> int:
        return len(self.dims)

    @property
    def static(self) -> bool:
        return all(isinstance(dim, int) for dim in self.dims)

    @property
    def elements(self) -> int:
        return int(np.prod([2 if isinstance(dim, str) else dim for dim in self.dims], dtype=np.int64))


class Graph:
    """A model in the making; `draw` decides everything."""

    def __init__(self, draw: st.DrawFn, opset: int) -> None:
        self.draw, self.opset = draw, opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}
        self.values: list[Value] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.types: dict[str, onnx.TypeProto] = {}

    # choices

    def some(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def chance(self) -> bool:
        return bool(self.draw(st.booleans()))

    def take(self, dtypes: Sequence[int] = (FLOAT, HALF), least_rank: int = 0, **wanted: Any) -> Value:
        """One value that fits, rather a young one. Raises Unfit where there is none."""
        fitting = [
            v
            for v in self.values
            if v.dtype in dtypes
            and v.rank >= least_rank
            and all(getattr(v, name) == value for name, value in wanted.items())
        ]
        if not fitting:
            raise Unfit
        return self.some(fitting[-3:]) if self.chance() else self.some(fitting)

    def axis(self, value: Value, least: int = 0) -> int:
        """An axis of known extent, counted from either end."""
        known = [i for i, dim in enumerate(value.dims) if isinstance(dim, int) and i >= least]
        if not known:
            raise Unfit
        axis = self.some(known)
        return axis - value.rank if self.chance() else axis

    def draw_order(self, rank: int) -> list[int]:
        return list(self.draw(st.permutations(range(rank))))

    # nodes

    def given(self, name: str, dtype: int, dims: Dims) -> None:
        info = helper.make_tensor_value_info(name, dtype, list(dims))
        self.inputs.append(info)
        self.types[name] = info.type
        self.values.append(Value(name, dtype, dims, True))

    def weight(self, array: np.ndarray) -> str:
        """An initializer, or a Constant node; equal ones may be held twice."""
        name = f"w{len(self.weights)}_{len(self.nodes)}"
        tensor = numpy_helper.from_array(np.asarray(array), name)
        self.types[name] = helper.make_tensor_type_proto(tensor.data_type, array.shape)
        self.weights[name] = tensor
        return name

    @staticmethod
    def tensor(value: float, dtype: int) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array([value], helper.tensor_dtype_to_np_dtype(dtype)))

    def ints(self, *numbers: int) -> str:
        return self.weight(np.array(numbers, np.int64))

    def uniform(self, dims: Sequence[int], dtype: int = FLOAT) -> str:
        """Seeded by what stands before it, in 0.5..1.5, some of them negative."""
        random = np.random.default_rng(zlib.crc32(f"{len(self.nodes)} {len(self.weights)}".encode()))
        array = random.uniform(0.5, 1.5, tuple(dims)) * random.choice([-1, 1, 1], tuple(dims))
        return self.weight(np.asarray(array, helper.tensor_dtype_to_np_dtype(dtype)))

    def number(self, value: float, dtype: int = FLOAT) -> str:
        return self.weight(np.array(value, helper.tensor_dtype_to_np_dtype(dtype)))

    def add(self, kind: str, *inputs: Value | str, outputs: int = 1, exact: bool = False, **attributes: Any) -> Value:
        """One node; its outputs join the values where their dims are known. Raises Unfit where it is not valid."""
        names = [each if isinstance(each, str) else each.name for each in inputs]
        made = [f"v{len(self.nodes)}_{index}" for index in range(outputs)]
        node = helper.make_node(kind, names, made, **attributes)
        exact = exact and all(each.exact for each in inputs if isinstance(each, Value))
        found = [self._found(name, info, exact) for name, info in zip(made, self._infer(node), strict=True)]
        if any(each.elements > MOST_ELEMENTS or each.elements == 0 for each in found):
            raise Unfit
        self.nodes.append(node)
        self.values += found
        return found[0]

    def _infer(self, node: onnx.NodeProto) -> list[onnx.TypeProto]:
        """The outputs' types. Inference lets an open dim pass beside a 2, so it is asked for a batch of 3 as well."""
        types = {name: self.types[name] for name in node.input if name}
        data = {name: self.weights[name] for name in node.input if name in self.weights}
        schema = onnx.defs.get_schema(node.op_type, self.opset, "")
        imports = [helper.make_opsetid("", self.opset)]
        try:
            for each in ({name: _of_three(info) for name, info in types.items()}, types):
                found = onnx.shape_inference.infer_node_outputs(schema, node, each, data, opset_imports=imports)
            return [found[name] for name in node.output]
        except Exception as error:
            raise Unfit from error

    def _found(self, name: str, info: onnx.TypeProto, exact: bool) -> Value:
        tensor = info.tensor_type
        dims = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in tensor.shape.dim)
        if not tensor.HasField("shape") or "" in dims:
            raise Unfit
        self.types[name] = info
        return Value(name, tensor.elem_type, dims, exact or tensor.elem_type in (INT, BOOL))

    def model(self, outputs: Sequence[Value]) -> onnx.ModelProto:
        infos = [onnx.ValueInfoProto(name=v.name, type=self.types[v.name]) for v in outputs]
        used = {name for node in self.nodes for name in node.input}
        weights = [tensor for name, tensor in self.weights.items() if name in used]
        graph = helper.make_graph(self.nodes, "random", self.inputs, infos, weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)


def _of_three(info: onnx.TypeProto) -> onnx.TypeProto:
    dims = [d.dim_value or 3 for d in info.tensor_type.shape.dim]
    return helper.make_tensor_type_proto(info.tensor_type.elem_type, dims)


class Unfit(Exception):
    """The graph has nothing that the op could take."""


def partner(g: Graph, x: Value) -> Value | str:
    """Another value of the same type that broadcasts with `x`, or weights that do."""
    fitting = [v for v in g.values if v.dtype == x.dtype and v is not x and broadcast(x, v)]
    if fitting and g.chance():
        return g.some(fitting)
    return g.uniform(weight_dims(g, x), x.dtype)


def weight_dims(g: Graph, x: Value) -> list[int]:
    start = g.some(range(x.rank + 1))
    kept = [dim if isinstance(dim, int) and g.chance() else 1 for dim in x.dims[start:]]
    return kept if g.chance() else [1] * g.some([0, len(kept)])


def broadcast(x: Value, y: Value) -> bool:
    pairs = zip(reversed(x.dims), reversed(y.dims), strict=False)
    return all(a == b or 1 in (a, b) for a, b in pairs)


@st.composite
def models(draw: st.DrawFn, opsets: Sequence[int] = (21,), most: int = 12) -> onnx.ModelProto:
    """A model of 2 to `most` picks from the table, some of which are several nodes."""
    import random_blocks  # noqa: F401, these two fill the table
    import random_ops  # noqa: F401

    graph = Graph(draw, draw(st.sampled_from(opsets)))
    for name, dtype, dims in draw(st.lists(st.sampled_from(INPUTS), min_size=1, max_size=3, unique=True)):
        graph.given(name, dtype, (draw(st.sampled_from((BATCH, 2))), *dims))
    given = len(graph.values)
    for _ in range(draw(st.integers(2, most))):
        try:
            draw(st.sampled_from(OPS))(graph)
        except Unfit:
            continue
    made = graph.values[given:]
    if not made:
        made = [graph.add("Identity", graph.values[0], exact=True)]
    outputs = [made[-1], *draw(st.lists(st.sampled_from(made), max_size=3))]
    return graph.model(list(dict.fromkeys(outputs)))
