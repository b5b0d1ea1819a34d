"""Which nodes become one kernel: an anchor, and the element-wise nodes behind it whose values nobody else reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from effc.compiler import ir

ELEMENTWISE = frozenset(
    "Abs Add And Ceil Clip Cos Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish LeakyRelu "
    "Less LessOrEqual Log Max Min Mish Mul Neg Not Or Pow PRelu Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus "
    "Softsign Sqrt Sub Tanh Where Xor QuantizeLinear DequantizeLinear".split()
)
"""Ops that compute each output element from the input elements in its place."""


@dataclass(frozen=True)
class Group:
    """Nodes of one kernel.

    Attributes:
        anchor: the node whose loops the kernel has; None for element-wise nodes alone.
        head: DequantizeLinear nodes of stored integers that the anchor's integer kernel reads through.
        tail: element-wise nodes, in order; the last one puts out the stored tensor.
    """

    anchor: ir.Node | None
    head: tuple[ir.Node, ...]
    tail: tuple[ir.Node, ...]

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """All nodes in order."""
        return (*self.head, *((self.anchor,) if self.anchor else ()), *self.tail)

    @property
    def outputs(self) -> tuple[ir.Value, ...]:
        """The values that are stored."""
        last = self.tail[-1] if self.tail else self.anchor
        assert last is not None
        return tuple(last.outputs)

    @property
    def reads(self) -> tuple[ir.Value, ...]:
        """The values, stored before, that it reads; constants are not among them."""
        own = {v for node in self.nodes for v in node.outputs}
        read = (v for node in self.nodes for v in node.inputs if v is not None and v not in own)
        return tuple(dict.fromkeys(v for v in read if ir.const(v) is None))


Fuses = Callable[[ir.Node], bool]
"""Whether element-wise nodes may follow inside this node's kernel."""


def grouped(graph: ir.Graph, fuses: Fuses, elementwise: Fuses) -> list[Group]:
    """The graph's nodes as groups, in an order in which they can run.

    An element-wise node joins the group of the operand that is computed last, if nobody else reads that operand and it
    has the shape of the result. A value that several element-wise nodes read joins too where they meet again in one
    node (`x * Sigmoid(x)`). A group stands where its last node stood: what it holds back nobody else reads.
    DequantizeLinear nodes of stored integers are part of every group that reads them.
    """
    state = _State(graph, fuses, elementwise)
    for position, node in enumerate(graph):
        state.place(position, node)
    return [Group(p.anchor, (), tuple(p.tail)) for p in sorted(state.parts, key=lambda p: p.position)]


@dataclass
class _Part:
    """A group that still grows."""

    anchor: ir.Node | None
    tail: list[ir.Node]
    position: int


class _State:
    def __init__(self, graph: ir.Graph, fuses: Fuses, elementwise: Fuses) -> None:
        self.fuses, self.elementwise = fuses, elementwise
        self.stored = set(graph.outputs)
        self.order = {node: i for i, node in enumerate(graph)}
        self.parts: list[_Part] = []
        self.open: dict[ir.Value, _Part] = {}
        self.placed: set[ir.Node] = set()

    def place(self, position: int, node: ir.Node) -> None:
        if node in self.placed:
            return
        if not self.elementwise(node):
            self._start(_Part(node, [], position), node.outputs[0] if self.fuses(node) else None)
            return
        for value in self._candidates(node):
            chain = self._joins(value, node)
            if chain:
                self._append(self.open.pop(value), chain)
                return
        self._start(_Part(None, [node], position), node.outputs[0])

    def _start(self, part: _Part, value: ir.Value | None) -> None:
        self.parts.append(part)
        if value is not None:
            self.open[value] = part
        self.placed.add(part.anchor or part.tail[0])

    def _append(self, part: _Part, chain: Sequence[ir.Node]) -> None:
        part.tail += chain
        part.position = self.order[chain[-1]]
        self.placed.update(chain)
        self.open[chain[-1].outputs[0]] = part

    def _candidates(self, node: ir.Node) -> list[ir.Value]:
        found = [v for v in node.inputs if v in self.open and v is not None]
        return sorted(set(found), key=lambda v: -self.open[v].position)

    def _joins(self, value: ir.Value, node: ir.Node) -> list[ir.Node]:
        """The nodes that may be appended behind `value`, beginning with `node`; none where they may not."""
        if value in self.stored or ir.shape(value) != ir.shape(node.outputs[0]):
            return []
        readers = set(value.consumers())
        chain = [node]
        while not readers <= set(chain):
            last = chain[-1].outputs[0]
            following = list(last.consumers())
            if last in self.stored or len(following) != 1 or not self.elementwise(following[0]) or len(chain) > 8:
                return []
            chain.append(following[0])
        return chain if all(self._ready(n, value, chain) for n in chain) else []

    def _ready(self, node: ir.Node, value: ir.Value, chain: Sequence[ir.Node]) -> bool:
        """Whether a node of the chain has one shape with it, and reads nothing that comes later than the chain."""
        own = {value, *(n.outputs[0] for n in chain)}
        others = [v.producer() for v in node.inputs if v is not None and v not in own]
        late = any(p is not None and p not in self.placed for p in others)
        return not late and ir.shape(node.outputs[0]) == ir.shape(value)
