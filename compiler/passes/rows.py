"""What works on rows alone is done on matrices where that pays: MatMul + Add of rank 3 and more becomes Gemm.

x of dims L.. x K is as well a matrix of prod(L) rows. An op that treats each row by itself gives the same either way,
so that each may choose; a tensor costs one Reshape where its producer and readers choose differently, and Reshapes that
are there already take or give both. Gemm saves the Add. The best choice is a minimum cut, as in `layouts`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from effc.compiler import ir
from effc.compiler.mincut import UNCUT, Edge, source_side
from effc.compiler.passes.rewrite import constant, input_at, is_float, is_private, is_row, is_standard, maker
from effc.compiler.passes.targets import Dims, target
from effc.compiler.passes.turns import BROADCAST, UNARY
from effc.compiler.phase import Step

_REDUCTIONS = frozenset(
    {"ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare"}
)
_LAST_AXIS = frozenset({"Softmax", "LogSoftmax", "LayerNormalization", "LpNormalization", "RMSNormalization"})


def matrices(model: ir.Model) -> bool:
    """For each kind of leading dims that MatMul + Add come with, choose between rows and matrices."""
    leads = Counter(lead for node in model.graph if (lead := _lead_of_pair(node)) is not None)
    changed = any([_Rows(model.graph, lead).improve() for lead in leads])
    if changed:
        ir.prune(model)
        model.graph.sort()
    return changed


def _lead_of_pair(node: ir.Node) -> Dims | None:
    """The leading dims of an Add that could be a Gemm's, where a Reshape can give them back."""
    if product_of(node) is None:
        return None
    dims = ir.shape(node.outputs[0]) or ()
    sound = "?" not in dims and target(dims, None) is not None and isinstance(dims[-1], int)
    return dims[:-1] if sound else None


def product_of(node: ir.Node) -> ir.Node | None:
    """The MatMul by a constant of which the node, an Add, adds a constant to each row."""
    if node.op_type != "Add" or not is_standard(node) or ir.rank(node.outputs[0]) < 3:
        return None
    product, bias = maker(node.inputs[0], "MatMul"), ir.const(node.inputs[1])
    if product is None or bias is None or not is_private(product.outputs[0]) or not is_float(product.outputs[0]):
        return None
    weight = ir.const(product.inputs[1])
    fits = weight is not None and weight.ndim == 2 and bias.ndim == 1 and is_row(bias, weight.shape[1])
    return product if fits else None


@dataclass
class _Rows:
    """All tensors of some leading dims, and the ops that treat their rows by themselves."""

    graph: ir.Graph
    lead: Dims
    free: dict[ir.Node, tuple[int, ...]] = field(default_factory=dict)
    pairs: dict[ir.Node, ir.Node] = field(default_factory=dict)
    flat: dict[ir.Value, ir.Value] = field(default_factory=dict)

    def improve(self) -> bool:
        for node in self.graph:
            product = product_of(node)
            if product is not None and self._is_tensor(node.outputs[0]) and self._is_tensor(product.inputs[0]):
                self.pairs[node] = product
        inner = set(self.pairs.values())
        for node in self.graph:
            slots = self._slots(node) if is_standard(node) and node not in inner else None
            if slots:
                self.free[node] = slots
        chosen = set(self.free) - source_side(self._edges(), "source", "sink")
        if not any(node in chosen for node in self.pairs):
            return False
        self._write(chosen)
        return True

    def _is_tensor(self, value: ir.Value | None) -> bool:
        dims = ir.shape(value)
        return (
            dims is not None
            and len(dims) == len(self.lead) + 1
            and dims[:-1] == self.lead
            and isinstance(dims[-1], int)
            and ir.const(value) is None
        )

    # which ops treat rows by themselves: the operands that they take as rows

    def _slots(self, node: ir.Node) -> tuple[int, ...] | None:
        if not self._is_tensor(node.outputs[0]) or any(v.uses() for v in node.outputs[1:]):
            return None
        if node in self.pairs:
            return (0,)
        if node.op_type in BROADCAST:
            return self._broadcast(node)
        if not self._is_tensor(node.inputs[0] if node.inputs else None):
            return None
        return (0,) if node.op_type in UNARY or self._is_along_rows(node) else None

    def _is_along_rows(self, node: ir.Node) -> bool:
        rank = len(self.lead) + 1
        if node.op_type == "MatMul":
            weight = ir.const(node.inputs[1])
            return weight is not None and weight.ndim == 2
        if node.op_type in _LAST_AXIS:
            return ir.attr_int(node, "axis", -1) % rank == rank - 1 and all(ir.rank(v) < 2 for v in node.inputs[1:])
        axes = ir.const(input_at(node, 1)) if node.op_type in _REDUCTIONS else None
        return (
            axes is not None
            and [int(a) % rank for a in axes.ravel()] == [rank - 1]
            and bool(ir.attr_int(node, "keepdims", 1))
        )

    def _broadcast(self, node: ir.Node) -> tuple[int, ...] | None:
        slots = []
        for slot, value in enumerate(node.inputs):
            if value is not None and self._is_tensor(value):
                slots.append(slot)
            elif self._as_rows(ir.const(value)) is None:
                return None
        return tuple(slots)

    def _as_rows(self, array: ir.Array | None) -> ir.Array | None:
        """A constant operand for matrices: the same for all rows, or one row for each."""
        if array is None or array.ndim > len(self.lead) + 1:
            return None
        if array.ndim < 2 or all(d == 1 for d in array.shape[:-1]):
            return array.reshape(array.shape[-1:])
        dims = (1,) * (len(self.lead) + 1 - array.ndim) + array.shape
        return array.reshape(-1, dims[-1]) if dims[:-1] == self.lead else None

    # the cut: ops on the sink's side take matrices

    def _edges(self) -> Iterator[Edge]:
        weight = len(self.free) + 1
        readers, makers = self._members()
        for value, members in readers.items():
            maker_node = makers.get(value)
            ends: set[ir.Node | str] = members | ({maker_node} if maker_node is not None else set())
            if len(ends) > 1:
                yield (value, "in"), (value, "out"), weight
                for end in ends:
                    yield end, (value, "in"), UNCUT
                    yield (value, "out"), end, UNCUT
        for node in self.free:
            yield "source", node, 1
        for node in self.pairs:
            yield node, "sink", weight + 1

    def _members(self) -> tuple[dict[ir.Value, set[ir.Node | str]], dict[ir.Value, ir.Node | str]]:
        """For each tensor who reads it and who makes it; "source" for those that stand where they are."""
        readers: dict[ir.Value, set[ir.Node | str]] = defaultdict(set)
        makers: dict[ir.Value, ir.Node | str] = {}
        owners = {product: node for node, product in self.pairs.items()}
        for node, slots in self.free.items():
            for value in self._taken(node, slots):
                readers[value].add(node)
            readers[node.outputs[0]].update(())
        for value, members in readers.items():
            members |= {
                owners.get(use.node, use.node) if self._is_free(use.node, use.idx, owners) else "source"
                for use in value.uses()
                if not self._reshapes(use.node, use.idx)
            }
            if value.is_graph_output():
                members.add("source")
            made = value.producer()
            if made in self.free and made is not None:
                makers[value] = made
            elif made is None or made.op_type != "Reshape" or made.graph is not self.graph:
                makers[value] = "source"
        return readers, makers

    def _taken(self, node: ir.Node, slots: tuple[int, ...]) -> list[ir.Value]:
        source = self.pairs.get(node, node)
        return [v for slot in slots if (v := source.inputs[slot]) is not None]

    def _is_free(self, node: ir.Node, slot: int, owners: dict[ir.Node, ir.Node]) -> bool:
        return node in owners or (node in self.free and slot in self.free[node])

    def _reshapes(self, node: ir.Node, slot: int) -> bool:
        """Whether the operand is that of a Reshape, which gives the same from a matrix."""
        if node.op_type != "Reshape" or slot != 0 or node.graph is not self.graph:
            return False
        entries = ir.const(node.inputs[1])
        return entries is not None and not (entries == 0).any()

    # writing

    def _write(self, chosen: set[ir.Node]) -> None:
        inner = {self.pairs[node] for node in self.pairs if node in chosen}
        order = [node for node in self.graph if node in chosen]
        for node in order:
            self.flat[node.outputs[0]] = self._flattened(node)
        for node in order:
            self._restore(node.outputs[0], chosen | inner)

    def _flattened(self, node: ir.Node) -> ir.Value:
        """The node's output as a matrix."""
        source = self.pairs.get(node, node)
        inputs: list[ir.Value | None] = list(source.inputs)
        for slot in self.free[node]:
            inputs[slot] = self._matrix(source.inputs[slot])
        op, attributes = source.op_type, dict(source.attributes)
        if node in self.pairs:
            op, inputs = "Gemm", [*inputs, node.inputs[1]]
        elif op in BROADCAST:
            inputs = [self._operand(v, node) for v in inputs]
        elif op in _REDUCTIONS:
            inputs[1] = constant(node, "axes", np.array([-1], np.int64))
        if op in _LAST_AXIS:
            attributes.pop("axis", None)
        axis = {"axis": -1} if op in _LAST_AXIS else {}
        return self._emit(node, ir.node(op, inputs, {**attributes, **axis}))

    def _operand(self, value: ir.Value | None, node: ir.Node) -> ir.Value | None:
        array = ir.const(value)
        rows = self._as_rows(array)
        if array is None or rows is None or array.shape == rows.shape or array.size == 1:
            return value
        return constant(node, "rows", rows)

    def _matrix(self, value: ir.Value | None) -> ir.Value:
        """A tensor as a matrix; a Reshape that makes the tensor makes the matrix as well."""
        assert value is not None
        if value not in self.flat:
            made, dims = value.producer(), ir.shape(value) or ()
            source = made.inputs[0] if made is not None and made.op_type == "Reshape" else value
            entries = ir.initializer(self.graph, f"{value.name}_matrix", np.array([-1, dims[-1]], np.int64))
            node = ir.node("Reshape", [source, entries])
            self.flat[value] = self._emit(value, node)
        return self.flat[value]

    def _emit(self, like: ir.Node | ir.Value, node: ir.Node) -> ir.Value:
        old = like.outputs[0] if isinstance(like, ir.Node) else like
        self.graph.append(node)
        made, dims = node.outputs[0], ir.shape(old) or ()
        rows = [int(d) for d in self.lead if isinstance(d, int)]
        first = int(np.prod(rows)) if len(rows) == len(self.lead) else None
        made.name = ir.fresh_name(self.graph, f"{old.name}_rows")
        made.type, made.shape = old.type, ir.Shape([first, dims[-1]])
        if isinstance(like, ir.Node):
            node.name = like.name
        return made

    def _restore(self, value: ir.Value, gone: set[ir.Node]) -> None:
        """Let readers that stay have the tensor by a Reshape, and Reshapes the matrix itself."""
        matrix = self.flat[value]
        for use in [use for use in value.uses() if use.node not in gone and self._reshapes(use.node, use.idx)]:
            use.node.replace_input_with(0, matrix)
        rest = [use for use in value.uses() if use.node not in gone]
        if not rest and not value.is_graph_output():
            return
        entries = target(ir.shape(value) or (), None)
        assert entries is not None
        shape = ir.initializer(self.graph, f"{value.name}_shape", entries)
        back = ir.node("Reshape", [matrix, shape])
        self.graph.append(back)
        made = back.outputs[0]
        made.name, made.type, made.shape = ir.fresh_name(self.graph, f"{value.name}_back"), value.type, value.shape
        if value.is_graph_output():
            ir.replace_uses(value, made)
        else:
            for use in rest:
                use.node.replace_input_with(use.idx, made)


STEPS = (Step("rows as matrices", matrices),)
