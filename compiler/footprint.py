"""How much memory a run needs: weights, and the most that is alive of all other tensors at one moment.

Nodes run one after the other in the graph's order. A tensor takes memory from the node that makes it to the last one
that reads it, an input from the start, an output to the end. What only states other dims shares its input's memory;
nothing else is done in place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from effc.compiler import ir
from effc.compiler.walk import everywhere, inner_graphs, stored, with_inner, within

_VIEWS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True)
class Footprint:
    """Bytes, in the types that the model has.

    Attributes:
        weights: of all constants.
        activations: the peak of everything else; tensors of unknown size are left out.
        node: the name of the node that runs at the peak, empty in a graph without nodes.
        unsized: tensors whose size is not known.
    """

    weights: int
    activations: int
    node: str
    unsized: int


def footprint(model: ir.Model) -> Footprint:
    """The memory of a model whose shapes are numbers."""
    peak, node, unsized = _peak(model.graph)
    return Footprint(weight_bytes(model.graph), peak, node, unsized)


def weight_bytes(graph: ir.Graph) -> int:
    """Bytes of the constants of a graph, its branches and its loop bodies."""
    graphs = (graph, *inner_graphs(graph))
    found = {value for each in graphs for value in each.initializers.values()}
    found |= {value for node in everywhere(graph) if node.op_type == "Constant" for value in node.outputs}
    return sum(int(tensor.nbytes) for value in found if (tensor := stored(value)) is not None)


def _peak(graph: ir.Graph) -> tuple[int, str, int]:
    """The most bytes alive at once, the node at which they are, and how many tensors have no known size."""
    nodes = list(graph)
    last = _last_reads(graph, nodes)
    held = {value: _bytes(value) for value in (*graph.inputs, *(v for n in nodes for v in _made(n)))}
    dying: dict[int, list[ir.Value]] = {}
    for value, position in last.items():
        dying.setdefault(position, []).append(value)
    unsized = sum(size is None for size in held.values())
    alive = sum(held[value] or 0 for value in graph.inputs)
    peak, at = alive, ""
    for position, node in enumerate(nodes):
        alive += sum(held[value] or 0 for value in _made(node))
        parts = [_peak(inner) for inner in within(node)]
        unsized += sum(part[2] for part in parts)
        needed = alive + max((part[0] for part in parts), default=0)
        if needed > peak or not at:
            peak, at = max(peak, needed), node.name or node.op_type
        alive -= sum(held.get(value) or 0 for value in dying.get(position, ()))
    return peak, at, unsized


def _last_reads(graph: ir.Graph, nodes: list[ir.Node]) -> dict[ir.Value, int]:
    """The position of the last node that needs each tensor's memory, behind all nodes for outputs."""
    last: dict[ir.Value, int] = {}
    base: dict[ir.Value, ir.Value] = {}
    for position, node in enumerate(nodes):
        for value in (*_reads(node), *_made(node)):
            last[base.get(value, value)] = position
        if _is_view(node):
            source = node.inputs[0]
            base.update({value: base.get(source, source) for value in node.outputs if source is not None})
            last.update({base.get(source, source): position for value in node.outputs if source is not None})
    last.update({base.get(value, value): len(nodes) for value in graph.outputs})
    return last


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """What the node reads, and what nodes within it do."""
    for reader in with_inner(node):
        yield from (value for value in reader.inputs if value is not None)


def _made(node: ir.Node) -> Iterable[ir.Value]:
    """The outputs that take memory of their own: none for views, none for constants, which are weights."""
    return () if _is_view(node) or node.op_type == "Constant" else node.outputs


def _is_view(node: ir.Node) -> bool:
    """Whether its output is its input with other dims; of a constant it is a tensor of its own."""
    return node.op_type in _VIEWS and node.domain in ("", "ai.onnx") and stored(node.inputs[0]) is None


def _bytes(value: ir.Value) -> int | None:
    """The size of a tensor; 0 for an output that is left out, None where it is not known."""
    dims = ir.static_shape(value)
    if not value.name:
        return 0
    return None if dims is None or value.dtype is None else math.ceil(math.prod(dims) * value.dtype.bitwidth / 8)
