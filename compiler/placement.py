"""Where casts go: of all ways to give the undecided nodes a type, one that costs least."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from effc.compiler import ir
from effc.compiler.extents import MOVES
from effc.compiler.hazards import HAZARDS, WIDE
from effc.compiler.mincut import UNCUT, Edge, source_side

Reasons = Mapping[ir.Node, str | None]

_CAST = 2
_POINTWISE = 1
"""What a narrow op of one element each is worth: two of them pay for a cast. What is delicate is worth nothing."""
_FLOAT, _NARROW = "float32", "narrow"


@dataclass(frozen=True)
class Placement:
    """Chooses the nodes that compute narrow.

    Attributes:
        reasons: every node that touches float32 tensors: why it must stay float32, or None.
        io: whether graph inputs and outputs are narrow.
    """

    graph: ir.Graph
    reasons: Reasons
    io: bool

    def narrow(self) -> set[ir.Node]:
        """The nodes that compute narrow. What only moves data or maps single elements goes with its neighbours."""
        wide = source_side(self._edges(), _FLOAT, _NARROW)
        return {node for node, reason in self.reasons.items() if reason is None and node not in wide}

    def _edges(self) -> Iterator[Edge]:
        """Cutting an edge costs a cast; float32 is the source's side."""
        for node, reason in self.reasons.items():
            if reason is not None:
                yield _FLOAT, node, UNCUT
            elif node.op_type not in HAZARDS and node.op_type not in MOVES:
                yield node, _NARROW, UNCUT if node.op_type in WIDE else _POINTWISE
            for value in node.outputs:
                yield from _border(value, node, list(self._readers(value, node)))
        border = _NARROW if self.io else _FLOAT
        for value in self.graph.inputs:
            moved = [n for n in value.consumers() if n in self.reasons and n.op_type in MOVES]
            yield from _border(value, border, list(moved))

    def _readers(self, value: ir.Value, maker: ir.Node) -> Iterator[ir.Node | str]:
        """Who reads the value as a float; nodes of subgraphs read float32.

        A graph output counts for what only moves data, lest whole models of pointwise ops stay as they are.
        """
        for node in value.consumers():
            if node in self.reasons:
                yield node
            elif node.graph is not self.graph:
                yield _FLOAT
        if value.is_graph_output() and maker.op_type in MOVES:
            yield _NARROW if self.io else _FLOAT


def _border(value: ir.Value, maker: ir.Node | str, readers: list[ir.Node] | list[ir.Node | str]) -> Iterator[Edge]:
    """One cast serves all readers of a kind, so each direction has one edge, through a point of its own."""
    if value.dtype != ir.DataType.FLOAT or not readers:
        return
    down, up = ("down", value), ("up", value)
    yield maker, down, _CAST
    yield up, maker, _CAST
    for reader in readers:
        yield down, reader, UNCUT
        yield reader, up, UNCUT
