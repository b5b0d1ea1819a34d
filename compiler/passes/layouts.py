"""Transposes by minimum cut: each op between them runs in the layout for which fewest transposes are left in all.

Layout 0 is one order of axes, layout 1 the order after Transpose(perm). Ops that take any order (`turns`) choose; all
others stand where they are. A tensor costs one Transpose where its producer and its readers do not all choose the same
layout: a minimum cut, with two nodes of the flow network for a tensor (Kohli, Ladicky and Torr, Robust Higher Order
Potentials for Enforcing Label Consistency, 2009).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import onnx_ir

from effc.compiler import ir
from effc.compiler.mincut import UNCUT, Edge, source_side
from effc.compiler.passes.rewrite import is_standard
from effc.compiler.passes.turns import Perm, Ties, inverse, perm_of, ties, turned

_MOST_VALUES = 50_000
_SIDES = ("source", "sink")


def fewest_transposes(model: ir.Model) -> bool:
    """For each order of axes that the Transposes of the model make, choose layouts again."""
    changed = False
    for perm in _perms(model.graph):
        seen: set[ir.Node] = set()
        for node in [n for n in model.graph if _is_turn(n)]:
            if node not in seen and node.graph is not None and perm_of(node) in (perm, inverse(perm)):
                region = Region.around(node, perm)
                seen |= region.joints
                changed |= region.improve(model.graph)
        if changed:
            ir.prune(model)
    if changed:
        model.graph.sort()
    return changed


def _perms(graph: ir.Graph) -> list[Perm]:
    """One of each pair of a permutation and its inverse."""
    found: dict[Perm, None] = {}
    for node in graph:
        perm = perm_of(node) if _is_turn(node) else None
        if perm is not None and inverse(perm) not in found:
            found[perm] = None
    return list(found)


def _is_turn(node: ir.Node) -> bool:
    return node.op_type == "Transpose" and is_standard(node)


@dataclass
class Region:
    """Values and ops of free layout that Transposes join.

    Attributes:
        perm: x in layout 1 is Transpose(x in layout 0, perm).
        layout: of each value as it is now.
        free: ops that may change layout.
        joints: Transposes from one layout to the other.
    """

    perm: Perm
    layout: dict[ir.Value, int] = field(default_factory=dict)
    free: dict[ir.Node, Ties] = field(default_factory=dict)
    joints: set[ir.Node] = field(default_factory=set)

    @staticmethod
    def around(start: ir.Node, perm: Perm) -> Region:
        """All that free ops connect with a Transpose by `perm` or its inverse."""
        region = Region(perm)
        region._take(start, start.outputs[0], 1 if perm_of(start) == perm else 0)
        queue = list(region.layout)
        for value in queue:  # grows
            for node in _touching(value):
                if node.graph is start.graph:
                    queue += region._take(node, value, region.layout[value])
        return region

    def to(self, layout: int) -> Perm:
        """What turns the other layout into this one."""
        return self.perm if layout else inverse(self.perm)

    def native(self, node: ir.Node) -> int:
        """The layout in which a free op is now."""
        tied = self.free[node]
        value = tied.outputs[0] if tied.outputs else node.inputs[tied.slots[0]]
        assert value is not None
        return self.layout[value]

    def root(self, value: ir.Value) -> ir.Value:
        """The value that joints make this one of."""
        node = value.producer()
        while node in self.joints and node is not None and node.inputs[0] is not None:
            value = node.inputs[0]
            node = value.producer()
        return value

    def _take(self, node: ir.Node, value: ir.Value, layout: int) -> list[ir.Value]:
        """Let the node in, if it is of use here and agrees with the layouts found so far; its values that are new."""
        if node in self.free or node in self.joints:
            return []
        tied = None
        if _is_turn(node):
            made = layout if value is node.outputs[0] else 1 - layout
            wanted = {node.outputs[0]: made, node.inputs[0]: 1 - made}
            agrees = perm_of(node) == self.to(made)
        else:
            tied = ties(node, self.to(1 - layout))
            wanted = {} if tied is None else dict.fromkeys(_values(node, tied), layout)
            agrees = value in wanted
        if not agrees or any(v is None or self.layout.get(v, w) != w for v, w in wanted.items()):
            return []
        if tied is None:
            self.joints.add(node)
        else:
            self.free[node] = tied
        new = [v for v in wanted if v is not None and v not in self.layout]
        self.layout.update({v: wanted[v] for v in new})
        return new

    # the cut

    def improve(self, graph: ir.Graph) -> bool:
        """Choose layouts, and write the graph so where that leaves fewer Transposes."""
        if not self.free or len(self.layout) > _MOST_VALUES:
            return False
        tensors = self._tensors()
        chosen = self._choose(tensors)
        left = sum(len({_side(m, chosen) for m in members}) > 1 for members in tensors.values())
        if left >= len(self.joints):
            return False
        _Writer(self, graph, chosen).write(tensors)
        return True

    def _tensors(self) -> dict[ir.Value, set[ir.Node | int]]:
        """For each tensor, by its root, who makes and reads it: free ops, and layouts that are asked for."""
        found: dict[ir.Value, set[ir.Node | int]] = defaultdict(set)
        for value, layout in self.layout.items():
            root, maker = self.root(value), value.producer()
            if maker not in self.joints:
                found[root].add(maker if maker in self.free and maker is not None else layout)
            found[root].update(
                self._reader(use.node, use.idx, layout) for use in value.uses() if use.node not in self.joints
            )
            if value.is_graph_output():
                found[root].add(layout)
        return found

    def _reader(self, node: ir.Node, slot: int, layout: int) -> ir.Node | int:
        return node if self.is_tied(node, slot) else layout

    def is_tied(self, node: ir.Node, slot: int) -> bool:
        """Whether this operand changes layout with its node."""
        return node in self.free and slot in self.free[node].slots

    def _choose(self, tensors: dict[ir.Value, set[ir.Node | int]]) -> dict[ir.Node, int]:
        source = source_side(self._edges(tensors), *_SIDES)
        return {node: 0 if node in source else 1 for node in self.free}

    def _edges(self, tensors: dict[ir.Value, set[ir.Node | int]]) -> Iterator[Edge]:
        """A tensor in both layouts costs more than any number of ops that leave their own."""
        for root, members in tensors.items():
            if {0, 1} <= members or len(members) < 2:
                continue
            yield (root, "in"), (root, "out"), len(self.free) + 1
            for member in members:
                node = _SIDES[member] if isinstance(member, int) else member
                yield node, (root, "in"), UNCUT
                yield (root, "out"), node, UNCUT
        for node in self.free:
            yield ("source", node, 1) if self.native(node) == 0 else (node, "sink", 1)


def _values(node: ir.Node, tied: Ties) -> Iterable[ir.Value | None]:
    return (*(node.inputs[slot] for slot in tied.slots), *tied.outputs)


def _touching(value: ir.Value) -> list[ir.Node]:
    maker = value.producer()
    return [*([] if maker is None else [maker]), *dict.fromkeys(use.node for use in value.uses())]


def _side(member: ir.Node | int, chosen: dict[ir.Node, int]) -> int:
    return member if isinstance(member, int) else chosen[member]


@dataclass
class _Writer:
    """Writes the chosen layouts into the graph; what is not read any more is left for pruning."""

    region: Region
    graph: ir.Graph
    chosen: dict[ir.Node, int]
    held: dict[tuple[ir.Value, int], ir.Value] = field(default_factory=dict)

    def write(self, roots: Iterable[ir.Value]) -> None:
        region = self.region
        fixed = [
            (use, value) for value in region.layout for use in value.uses()
            if use.node not in region.joints and not region.is_tied(use.node, use.idx)
        ]  # fmt: skip
        for root in roots:
            maker, layout = root.producer(), region.layout[root]
            if maker is None or self.chosen.get(maker, layout) == layout:
                self.held[root, layout] = root
        nodes = [(node, self._turned(node)) for node in region.free]
        for node, new in nodes:
            for slot in region.free[node].slots:
                value = node.inputs[slot]
                assert value is not None
                new.replace_input_with(slot, self._in(value, self.chosen[node]))
        for use, value in fixed:
            use.node.replace_input_with(use.idx, self._in(value, region.layout[value]))
        for value in [v for v in region.layout if v.is_graph_output()]:
            self._output(value)

    def _turned(self, node: ir.Node) -> ir.Node:
        """The node in the layout chosen for it."""
        layout = self.chosen[node]
        if layout == self.region.native(node):
            return node
        perm = self.region.to(layout)
        inputs, attributes = turned(node, perm, node)
        given = onnx_ir.convenience.convert_attributes(dict(attributes))  # type: ignore[arg-type]
        new = ir.Node("", node.op_type, inputs, given, num_outputs=len(node.outputs))
        new.name = node.name
        self.graph.insert_before(node, new)
        for old, made in zip(node.outputs, new.outputs, strict=True):
            made.name, made.type, made.shape = self._name(old), old.type, old.shape
            if old in self.region.layout:
                made.shape = _turned_shape(old, perm)
                self.held[old, layout] = made
            else:
                ir.replace_uses(old, made)
        return new

    def _in(self, value: ir.Value, layout: int) -> ir.Value:
        """The tensor of a value in a layout, by a Transpose if it is held in the other one alone."""
        root = self.region.root(value)
        found = self.held.get((root, layout))
        if found is None:
            source = self.held[root, 1 - layout]
            turn = ir.node("Transpose", [source], {"perm": self.region.to(layout)})
            self.graph.append(turn)
            found = turn.outputs[0]
            found.name, found.type = self._name(root), root.type
            found.shape = _turned_shape(source, self.region.to(layout))
            self.held[root, layout] = found
        return found

    def _output(self, value: ir.Value) -> None:
        """A graph output must be what a node makes, and no other output."""
        found = self._in(value, self.region.layout[value])
        if found is value:
            return
        if found.producer() is None or found.is_graph_output():
            copy = ir.node("Identity", [found])
            self.graph.append(copy)
            found = copy.outputs[0]
            found.name = self._name(value)
        ir.replace_uses(value, found)

    def _name(self, value: ir.Value) -> str:
        return ir.fresh_name(self.graph, f"{value.name}_turned")


def _turned_shape(value: ir.Value, perm: Perm) -> ir.Shape | None:
    dims = ir.shape(value)
    return None if dims is None else ir.Shape([None if dims[i] == "?" else dims[i] for i in perm])
