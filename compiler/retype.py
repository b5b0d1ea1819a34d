"""Writing a narrow float type into a graph: tensors change type, and one cast stands where a value crosses over."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import onnx
import onnx_ir

from effc.compiler import ir
from effc.compiler.hazards import Format, shaky_scale
from effc.compiler.rounding import Constants

Use = tuple[ir.Node, int]
Ports = tuple[frozenset[int], frozenset[int]]

_OTHER_FLOATS = frozenset({("Resize", "T2"), ("LayerNormalization", "U")})
"""Type variables that are not those of the data."""
_ANY_TYPE = frozenset({"Cast", "Shape", "Size"})


@cache
def ports(op: str, opset: int, dtype: str, inputs: int, outputs: int) -> Ports:
    """Positions of the inputs and outputs that may be tensors of `dtype` (as in "tensor(float16)")."""
    schema = onnx.defs.get_schema(op, opset)
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}

    def fits(formals: list[onnx.defs.OpSchema.FormalParameter], index: int) -> bool:
        name = formals[min(index, len(formals) - 1)].type_str
        return f"tensor({dtype})" in allowed.get(name, ()) and (op, name) not in _OTHER_FLOATS

    taken = frozenset(i for i in range(inputs) if fits(list(schema.inputs), i))
    return taken, frozenset(i for i in range(outputs) if fits(list(schema.outputs), i))


def ports_of(node: ir.Node, form: Format, opset: int) -> Ports:
    """The positions at which this node would take and give narrow tensors."""
    return ports(node.op_type, opset, form.name, len(node.inputs), len(node.outputs))


class Retyping:
    """Gives the chosen nodes of a graph narrow tensors; whatever else reads or makes these keeps its types.

    Attributes:
        narrow: the nodes whose float tensors are narrow; QuantizeLinear and DequantizeLinear join by themselves.
        borders: the graph inputs and outputs that are narrow too.
    """

    def __init__(
        self, model: ir.Model, narrow: Iterable[ir.Node], borders: frozenset[ir.Value], constants: Constants
    ) -> None:
        self.graph, self.form, self._constants = model.graph, constants.form, constants
        self.narrow, self.borders = set(narrow), borders
        self._opset = model.opset_imports[""]
        self._taken = {v.name for v in ir.values(model.graph)} | {n.name for n in model.graph}

    def write(self) -> None:
        """Retype the graph in place."""
        for node in self.graph:
            if node.op_type == "QuantizeLinear" and self._narrow_home(node.inputs[0]) and not _shaky(node, self.form):
                self.narrow.add(node)
        for value in [*self.graph.inputs, *(v for node in list(self.graph) for v in node.outputs)]:
            self._cross(value)
        # Last, when it is settled which Q/DQ reads a scale as what; weights before the biases that they make up for.
        for value in sorted(self.graph.initializers.values(), key=ir.rank, reverse=True):
            self._cross(value)

    def _cross(self, value: ir.Value) -> None:
        """Give each reader the value in its own type, by as little as it takes."""
        if value.dtype != ir.DataType.FLOAT:
            return
        leaves, narrow_leaves = value.is_graph_output(), value in self.borders
        low, high = self._uses(value, low=True), self._uses(value, low=False)
        wide_leaves = leaves and not narrow_leaves
        if self._narrow_home(value):
            ir.retype(value, self.form.dtype)
            if high or wide_leaves:
                _hand(value, self._cast(value, value, ir.DataType.FLOAT), high, leaves=wide_leaves)
        elif low or (leaves and narrow_leaves):
            if self._flexible(value) and not wide_leaves and len(low) == len(value.uses()):
                self._turn(value)
            else:
                _hand(value, self._second(value), low, leaves=leaves and narrow_leaves)

    def _narrow_home(self, value: ir.Value | None) -> bool:
        """Whether what makes the value makes it narrow."""
        if value is None:
            return False
        maker = value.producer()
        if maker is None:
            return value.is_graph_input() and value in self.borders
        return maker in self.narrow and value.index() in self._ports(maker)[1]

    def _flexible(self, value: ir.Value) -> bool:
        """Whether the value can be had in either type without a cast of it: constants, DQ and casts of other types."""
        maker = value.producer()
        if maker is None:
            return value.is_initializer()
        if maker.op_type == "DequantizeLinear":
            return not _shaky(maker, self.form)
        return maker.op_type == "Cast" and maker.graph is self.graph

    def _turn(self, value: ir.Value) -> None:
        """Make a flexible value narrow where it stands."""
        maker = value.producer()
        ir.retype(value, self.form.dtype)
        if maker is None:
            value.const_value = onnx_ir.tensor(self._constants.converted(value), name=value.name)
        elif maker.op_type == "Cast":
            maker.attributes["to"] = onnx_ir.AttrInt64("to", int(self.form.dtype))
        else:
            self.narrow.add(maker)

    def _second(self, value: ir.Value) -> ir.Value:
        """The same value again, narrow."""
        maker = value.producer() if self._flexible(value) else None
        if maker is None and value.is_initializer():
            return ir.initializer(self.graph, self._name(value), self._constants.converted(value))
        source = None if maker is None else maker.inputs[0]
        if maker is None or source is None:
            return self._cast(value, value, self.form.dtype)
        if maker.op_type == "Cast":
            return source if source.dtype == self.form.dtype else self._cast(value, source, self.form.dtype)
        again = ir.node("DequantizeLinear", maker.inputs)
        again.attributes.update(maker.attributes)
        self.narrow.add(again)
        return self._placed(again, value, self.form.dtype)

    def _cast(self, value: ir.Value, source: ir.Value, dtype: ir.DataType) -> ir.Value:
        return self._placed(ir.node("Cast", [source], {"to": int(dtype)}), value, dtype)

    def _placed(self, node: ir.Node, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Put a new node right behind the one that makes `value`; its output has the same shape."""
        maker, made = value.producer(), node.outputs[0]
        node.name = made.name = self._name(value, dtype)
        made.type, made.shape = onnx_ir.TensorType(dtype), value.shape
        if maker is None:
            self.graph.insert_before(self.graph[0], node)
        else:
            self.graph.insert_after(maker, node)
        return made

    def _name(self, value: ir.Value, dtype: ir.DataType | None = None) -> str:
        stem = name = f"{value.name}/{(dtype or self.form.dtype).name.lower()}"
        count = 0
        while name in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._taken.add(name)
        return name

    def _uses(self, value: ir.Value, *, low: bool) -> list[Use]:
        """The uses that want the value narrow, or those that want it in float32; some take any type."""
        found = [(use.node, use.idx) for use in value.uses() if use.node.op_type not in _ANY_TYPE]
        return [(node, index) for node, index in found if low == self._wants_narrow(node, index)]

    def _wants_narrow(self, node: ir.Node, index: int) -> bool:
        return node in self.narrow and index in self._ports(node)[0]

    def _ports(self, node: ir.Node) -> Ports:
        return ports_of(node, self.form, self._opset)


def _shaky(node: ir.Node, form: Format) -> bool:
    return shaky_scale(node, form) is not None


def _hand(old: ir.Value, new: ir.Value, uses: list[Use], *, leaves: bool) -> None:
    """Let some uses of `old` read `new`, and the graph output that it may be become `new`, under the same name."""
    for node, index in uses:
        node.replace_input_with(index, new)
    graph = old.graph
    if leaves and graph is not None:
        outputs = graph.outputs
        outputs[:] = [new if value is old else value for value in outputs]
        old.name, new.name = new.name, old.name
