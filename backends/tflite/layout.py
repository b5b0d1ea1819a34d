"""Layout: which nodes run channels-last, solved over the whole graph as a minimum cut.

A tensor of rank r >= 3 is held as ONNX has it (N, C, ...) or channels-last (N, ..., C). Convolutions and pools
need channels-last, reshapes and general matrix products need ONNX's order, and all others run in either.
Each tensor that one side makes and the other reads costs one transposition of its elements; the labels of the
free nodes that make the sum least are a minimum s-t cut (Boykov, Veksler, Zabih 2001: energies of two labels).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effc.compiler import ir

if TYPE_CHECKING:
    import networkx

    Network = networkx.DiGraph[object]

CHANNELS_LAST_OPS = frozenset(
    {"AveragePool", "Conv", "ConvTranspose", "DepthToSpace", "MaxPool", "Resize", "SpaceToDepth"}
)
FREE_OPS = frozenset(
    {
        *("Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "Cos", "Div", "Elu", "Equal", "Erf", "Exp", "Floor"),
        *("Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Less"),
        *("LessOrEqual", "Log", "Max", "Min", "Mul", "Neg", "Not", "Or", "PRelu", "Pad", "Pow", "Reciprocal"),
        *("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Round", "Sigmoid", "Sign"),
        *("Sin", "Slice", "Split", "Sqrt", "Sub", "Tanh", "Where"),
    }
)
_SOURCE, _SINK = "channels-last", "channels-first"


class Side(enum.Enum):
    """What a node demands of its tensors' order."""

    FIRST = enum.auto()
    LAST = enum.auto()
    FREE = enum.auto()


@dataclass(frozen=True)
class Layout:
    """The solution: for each node output, input and graph input whether it is channels-last."""

    produced: Mapping[ir.Value, bool]
    consumed: Mapping[tuple[ir.Node, int], bool]

    def of(self, value: ir.Value) -> bool:
        """Whether the value is made channels-last."""
        return self.produced.get(value, False)

    def wanted(self, node: ir.Node, position: int) -> bool:
        """Whether this input is read channels-last."""
        return self.consumed.get((node, position), False)


def to_last(rank: int) -> tuple[int, ...]:
    """The permutation from (N, C, ...) to (N, ..., C); the identity below rank 3."""
    return tuple(range(rank)) if rank < 3 else (0, *range(2, rank), 1)


def to_first(rank: int) -> tuple[int, ...]:
    """The inverse of `to_last`."""
    return tuple(range(rank)) if rank < 3 else (0, rank - 1, *range(1, rank - 1))


def root(value: ir.Value) -> ir.Value:
    """The value behind any QuantizeLinear and DequantizeLinear: the same tensor in another type."""
    producer = value.producer()
    while producer is not None and producer.op_type in ("QuantizeLinear", "DequantizeLinear"):
        value = _first(producer)
        producer = value.producer()
    return value


def sides(node: ir.Node) -> tuple[Side, Side]:
    """What the node demands of its inputs and of its outputs."""
    if node.op_type in CHANNELS_LAST_OPS:
        return Side.LAST, Side.LAST
    if node.op_type == "Transpose":
        return _transpose_sides(node)
    if (
        node.op_type in ("Softmax", "LogSoftmax")
        and ir.rank(node.outputs[0]) >= 3
        and ir.attr_int(node, "axis", -1) == 1
    ):
        return Side.LAST, Side.LAST
    free = node.op_type in FREE_OPS and all(_keeps_rank(node, v) for v in node.outputs) and _keeps_order(node)
    return (Side.FREE, Side.FREE) if free else (Side.FIRST, Side.FIRST)


def solve(graph: ir.Graph, *, native: bool) -> Layout:
    """The labels of least transposed elements. `native`: graph inputs and outputs are channels-last."""
    import networkx

    nodes = [n for n in graph if n.op_type not in ("QuantizeLinear", "DequantizeLinear")]
    network: Network = networkx.DiGraph()
    network.add_nodes_from((_SOURCE, _SINK, *nodes))
    for value, readers in _readers(graph, nodes).items():
        producer = value.producer()
        border = _SOURCE if held_last(value, native=native) else _SINK
        made_by = border if producer is None else _label(producer, sides(producer)[1])
        users = [_label(n, sides(n)[0]) for n in readers] + ([border] if _is_output(graph, value) else [])
        _charge(network, value, made_by, users)
    _, (last, _) = networkx.minimum_cut(network, _SOURCE, _SINK)
    return _layout(graph, nodes, last, native=native)


def held_last(value: ir.Value, *, native: bool) -> bool:
    """Whether a graph input or output is channels-last: native images are, sequences and vectors stay."""
    return native and ir.rank(value) >= 4


def _label(node: ir.Node, side: Side) -> object:
    return {Side.FIRST: _SINK, Side.LAST: _SOURCE}.get(side, node)


def _charge(network: Network, value: ir.Value, made_by: object, users: list[object]) -> None:
    """One transposition of `value` if any user is on the other side than its producer."""
    cost = _elements(value)
    if not cost:
        return
    to_last_users, to_first_users = (value, "last"), (value, "first")
    network.add_edge(to_last_users, made_by, capacity=cost)
    network.add_edge(made_by, to_first_users, capacity=cost)
    for user in users:
        network.add_edge(user, to_last_users)
        network.add_edge(to_first_users, user)


def _layout(graph: ir.Graph, nodes: list[ir.Node], last: set[object], *, native: bool) -> Layout:
    produced = {value: held_last(value, native=native) for value in graph.inputs}
    consumed: dict[tuple[ir.Node, int], bool] = {}
    for node in nodes:
        ins, outs = sides(node)
        produced |= dict.fromkeys(node.outputs, _label(node, outs) in last)
        consumed |= {(node, i): _label(node, ins) in last for i in range(len(node.inputs))}
    return Layout(produced, consumed)


def _readers(graph: ir.Graph, nodes: list[ir.Node]) -> dict[ir.Value, list[ir.Node]]:
    """Who reads each activation, seen through Q/DQ."""
    readers: dict[ir.Value, list[ir.Node]] = {v: [] for v in graph.inputs}
    for node in nodes:
        readers |= {v: [] for v in node.outputs}
    for node in nodes:
        for value in _activations(node):
            if root(value) in readers:
                readers[root(value)].append(node)
    return readers


def _activations(node: ir.Node) -> Iterator[ir.Value]:
    return (v for v in node.inputs if v is not None and ir.const(root(v)) is None)


def _is_output(graph: ir.Graph, value: ir.Value) -> bool:
    return any(root(out) is value for out in graph.outputs)


def _elements(value: ir.Value) -> int:
    """Elements that a transposition moves; none where at most one permuted dim is larger than 1."""
    dims = ir.shape(value)
    if dims is None or len(dims) < 3:
        return 0
    moved = [d for d in dims[1:] if d != 1]
    free = len(moved) < 2 or dims[1] == 1
    return 0 if free else math.prod(d if isinstance(d, int) else 1 for d in dims)


def _keeps_rank(node: ir.Node, output: ir.Value) -> bool:
    """Whether activations and output have one rank, or the output has none that a layout could change."""
    if output.shape is None:
        return False
    rank = len(output.shape)
    return rank < 3 or all(v.shape is not None and len(v.shape) == rank for v in _activations(node))


def _keeps_order(node: ir.Node) -> bool:
    """Whether the axes that a reduction drops leave the others in ONNX's order, in either layout."""
    if not node.op_type.startswith("Reduce") or ir.attr_int(node, "keepdims", 1):
        return True
    rank, axes = ir.rank(node.inputs[0]), ir.const(node.inputs[1]) if len(node.inputs) > 1 else None
    dropped = set(range(rank)) if axes is None else {int(a) % rank for a in axes}
    kept = [axis for axis in to_last(rank) if axis not in dropped]
    return kept == sorted(kept)


def _transpose_sides(node: ir.Node) -> tuple[Side, Side]:
    """A Transpose to or from channels-last is free when it starts or ends there."""
    rank = ir.rank(node.outputs[0])
    perm = ir.attr_ints(node, "perm", tuple(reversed(range(rank))))
    if rank >= 3 and perm == to_last(rank):
        return Side.LAST, Side.FIRST
    if rank >= 3 and perm == to_first(rank):
        return Side.FIRST, Side.LAST
    return Side.FIRST, Side.FIRST


def _first(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    if value is None:
        raise ValueError(f"{node.op_type} {node.name!r} has no input")
    return value
