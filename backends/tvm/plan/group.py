"""Which nodes become one kernel: an anchor, and the element-wise nodes behind it whose values nobody else reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from effc.compiler import ir


@dataclass(frozen=True)
class Group:
    """Nodes of one kernel.

    Attributes:
        anchor: the node whose loops the kernel has; None for element-wise nodes alone.
        head: DequantizeLinear nodes of stored integers and weights that the anchor's integer kernel reads through.
        tail: element-wise nodes, in order, DequantizeLinear of what they read beside; the last one puts out the stored
            tensor.
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
        return self._read_by(self.nodes)

    @property
    def sources(self) -> tuple[ir.Value, ...]:
        """Those of `reads` that the anchor reads, through its head or as they are."""
        return self._read_by((*self.head, *((self.anchor,) if self.anchor else ())))

    def _read_by(self, nodes: Iterable[ir.Node]) -> tuple[ir.Value, ...]:
        own = {v for node in self.nodes for v in node.outputs}
        read = (v for node in nodes for v in node.inputs if v is not None and v not in own)
        return tuple(dict.fromkeys(v for v in read if ir.const(v) is None))


Test = Callable[[ir.Node], bool]


@dataclass(frozen=True)
class Rules:
    """What may share a kernel.

    Attributes:
        fuses: whether element-wise nodes may follow inside this node's kernel.
        elementwise: whether this node computes each element from those in its place.
        integer: whether this anchor's kernel reads the integers behind its DequantizeLinear nodes itself.
    """

    fuses: Test
    elementwise: Test
    integer: Test


def grouped(graph: ir.Graph, rules: Rules) -> list[Group]:
    """The graph's nodes as groups, in an order in which they can run.

    An element-wise node joins the group of the operand that is computed last, if nobody else reads that operand and it
    has the shape of the result. A value that several element-wise nodes read joins too where they meet again in one
    node (`x * Sigmoid(x)`). A group stands where its last node stood: what it holds back nobody else reads.
    DequantizeLinear nodes of stored integers are part of every group that can read through them, and kernels of their
    own for the other readers. QuantizeLinear ends its group, since what is rounded is what is stored.
    """
    state = _State(graph, rules)
    for position, node in enumerate(graph):
        state.place(position, node)
    parts = sorted(state.parts, key=lambda p: p.position)
    return [Group(p.anchor, tuple(p.head), tuple(p.tail)) for p in parts]


@dataclass
class _Part:
    """A group that still grows."""

    anchor: ir.Node | None
    head: list[ir.Node]
    tail: list[ir.Node]
    position: int


class _State:
    def __init__(self, graph: ir.Graph, rules: Rules) -> None:
        self.rules = rules
        self.stored = set(graph.outputs)
        self.order = {node: i for i, node in enumerate(graph)}
        self.parts: list[_Part] = []
        self.open: dict[ir.Value, _Part] = {}
        self.placed: set[ir.Node] = set()

    def place(self, position: int, node: ir.Node) -> None:
        if node in self.placed:
            return
        if self._is_view(node):
            self._view(position, node)
        elif not self.rules.elementwise(node):
            head = self._views(node) if self.rules.integer(node) else []
            self._start(_Part(node, head, [], position), node)
        elif not self._join(node):
            self._start(_Part(None, [], [*self._views(node), node], position), node)

    def _join(self, node: ir.Node) -> bool:
        """Put the node behind the operand that is computed last, if it may stand there."""
        for value in self._candidates(node):
            chain = self._joins(value, node)
            if chain:
                self._append(self.open.pop(value), chain)
                return True
        return False

    def _view(self, position: int, node: ir.Node) -> None:
        """A DequantizeLinear: of no group yet, or a kernel of its own for readers that cannot read through it."""
        self.placed.add(node)
        output = node.outputs[0]
        reads = [self.rules.elementwise(n) or self.rules.integer(n) for n in output.consumers()]
        if output in self.stored or not all(reads):
            self.parts.append(_Part(None, [], [node], position))

    def _is_view(self, node: ir.Node) -> bool:
        """Whether the node dequantizes what is stored already, or constants of anchors that read through."""
        if node.op_type != "DequantizeLinear" or self.rules.elementwise(node):
            return node.op_type == "DequantizeLinear"
        output = node.outputs[0]
        through = output not in self.stored and all(self.rules.integer(n) for n in output.consumers())
        return ir.const(node.inputs[0]) is not None and through

    def _views(self, node: ir.Node, known: Iterable[ir.Node] = ()) -> list[ir.Node]:
        """The DequantizeLinear nodes that the node reads through."""
        found = (v.producer() for v in node.inputs if v is not None)
        return [n for n in dict.fromkeys(found) if n is not None and self._is_view(n) and n not in known]

    def _start(self, part: _Part, node: ir.Node) -> None:
        self.parts.append(part)
        if (part.anchor is None or self.rules.fuses(node)) and node.op_type != "QuantizeLinear":
            self.open[node.outputs[0]] = part
        self.placed.add(node)

    def _append(self, part: _Part, chain: Sequence[ir.Node]) -> None:
        for node in chain:
            part.tail += [*self._views(node, part.tail), node]
        part.position = self.order[chain[-1]]
        self.placed.update(chain)
        if chain[-1].op_type != "QuantizeLinear":
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
            if (
                last in self.stored
                or len(following) != 1
                or not self._may_follow(chain[-1], following[0])
                or len(chain) > 8
            ):
                return []
            chain.append(following[0])
        return chain if all(self._ready(n, value, chain) for n in chain) else []

    def _may_follow(self, node: ir.Node, following: ir.Node) -> bool:
        """Whether an element-wise node continues a chain; what is quantized is stored."""
        return self.rules.elementwise(following) and node.op_type != "QuantizeLinear" and not self._is_view(following)

    def _ready(self, node: ir.Node, value: ir.Value, chain: Sequence[ir.Node]) -> bool:
        """Whether a node of the chain has one shape with it, and reads nothing that comes later than the chain."""
        own = {value, *(n.outputs[0] for n in chain)}
        others = [v.producer() for v in node.inputs if v is not None and v not in own]
        late = any(p is not None and p not in self.placed for p in others)
        return not late and ir.shape(node.outputs[0]) == ir.shape(value)
