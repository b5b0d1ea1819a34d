"""The whole model as a relax module: groups as kernels, the rest through TVM's ONNX importer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import tvm
from tvm import relax, tirx

from effc.backends.tvm.compile import OURS
from effc.backends.tvm.cpu import Cpu
from effc.backends.tvm.importer import imported, settled
from effc.backends.tvm.ops import families  # noqa: F401  (fills the tables)
from effc.backends.tvm.ops.elementwise import elementwise
from effc.backends.tvm.ops.table import Family, Form, Site, find, is_batched, is_integer
from effc.backends.tvm.plan import symbols
from effc.backends.tvm.plan.affine import DQ, Q, is_single
from effc.backends.tvm.plan.denormals import without_denormals
from effc.backends.tvm.plan.group import Group, Rules, grouped
from effc.backends.tvm.plan.integers import integers
from effc.backends.tvm.plan.layouts import forms
from effc.backends.tvm.plan.norms import normalized
from effc.backends.tvm.plan.placed import Dim, Placed
from effc.backends.tvm.plan.views import View, landing, viewed
from effc.backends.tvm.schedules.elementwise import copy
from effc.backends.tvm.schedules.expressions import TABLE
from effc.backends.tvm.schedules.nest import Kernel
from effc.backends.tvm.schedules.transform import transform
from effc.backends.tvm.search.choices import Lowering
from effc.compiler import ir

_OPAQUE = 8


@dataclass(frozen=True)
class Written:
    """A relax module whose `main` takes the model's inputs and returns its outputs (a tuple where there are several).

    Attributes:
        groups: by the name of the variable that holds what the group computes.
    """

    module: tvm.IRModule
    groups: Mapping[str, Group]


def build(model: ir.Model, cpu: Cpu) -> tvm.IRModule:
    """The relax module alone."""
    return write(model, cpu).module


def write(model: ir.Model, cpu: Cpu, lower: Lowering | None = None) -> Written:
    """The model for a CPU. `lower` decides the tiles; None takes the ranking's first."""
    writer = _Writer(cpu, lower or ranked)
    return Written(writer.write(model), writer.groups)


@dataclass
class _Writer:
    cpu: Cpu
    lower: Lowering
    builder: relax.BlockBuilder = field(default_factory=relax.BlockBuilder)
    symbols: dict[str, tirx.Var] = field(default_factory=dict)
    held: dict[tuple[ir.Value, int], relax.Expr] = field(default_factory=dict)
    home: dict[ir.Value, int] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    views: dict[ir.Value, View] = field(default_factory=dict)

    def write(self, model: ir.Model) -> tvm.IRModule:
        model = integers(normalized(without_denormals(model)), is_integer, unsigned=self.cpu.unsigned)
        graph = model.graph
        groups = grouped(graph, Rules(lambda n: find(n) is not None, is_elementwise, is_integer))
        chosen = forms(groups)
        parameters = [relax.Var(v.name or "x", self._type(_rows(v))) for v in graph.inputs]
        for value, variable in zip(graph.inputs, parameters, strict=True):
            self.held[value, 0], self.home[value] = variable, 0
        with self.builder.function("main", parameters):
            with self.builder.dataflow():
                for i, group in enumerate(groups):
                    self.groups[name := f"group{i}"] = group
                    self._group(group, chosen[i], name)
                results = [self._value(v, 0) for v in graph.outputs]
                out = self.builder.emit_output(results[0] if len(results) == 1 else relax.Tuple(results))
            self.builder.emit_func_output(out)
        return self.builder.finalize()

    def _group(self, group: Group, form: Form, name: str) -> None:
        family = find(group.anchor) if group.anchor else None
        if group.anchor is not None and family is None:
            self._alone(group.anchor, name)
            return
        lanes = self.cpu.lanes
        block_in = lanes if form in (Form.BLOCKED, Form.EXIT) else 0
        block_out = lanes if form in (Form.BLOCKED, Form.ENTRY) else 0
        placed: dict[ir.Value, Placed] = {}
        for value in group.reads:
            placed[value] = _placed(value, block_in if value in group.sources else block_out)
        placed[group.outputs[0]] = _placed(group.outputs[0], block_out)
        target = group.outputs[0]
        if form is Form.ROWS and (family is None or family.strided):
            placed |= {v: _through(v, self.views[v]) for v in group.reads if v in self.views and v not in self.home}
            view = landing(target)
            if view is not None:
                placed[target], target = _through(target, view), view.base
        site = Site(self.cpu, placed, form)
        kernel = self.lower(family, group, site) if family else elementwise(group, site)
        by_name = {v.name: v for v in group.reads}
        inputs = [self._input(by_name[p.name], p) for p in kernel.inputs]
        self._store(target, kernel.outputs[0].block, self._call(kernel, inputs, name))

    def _input(self, value: ir.Value, placed: Placed) -> relax.Expr:
        seen = self.views.get(value) if placed.strides else None
        return self._value(value, placed.block) if seen is None else self._value(seen.base, 0)

    def _alone(self, node: ir.Node, name: str) -> None:
        """A node of no family: a view of what is stored, written already, or a call into TVM's operators."""
        if all(v in self.home for v in node.outputs):
            return
        found = viewed(node, self.views) if is_batched(node) else None
        if found is None:
            self._imported(node, name)
        else:
            self.views.update(zip(node.outputs, found, strict=True))

    def _call(self, kernel: Kernel, inputs: Sequence[relax.Expr], variable: str = "") -> relax.Expr:
        function = kernel.function.with_attr(OURS, True).with_attr("op_pattern", _OPAQUE)
        name = str(kernel.function.attrs["global_symbol"]) if "global_symbol" in kernel.function.attrs else "kernel"
        reference = self.builder.add_func(function.without_attr("global_symbol"), name)
        constants = [relax.const(array, str(array.dtype)) for array in kernel.constants]
        types = [self._type(p) for p in kernel.outputs]
        made = relax.call_tir(reference, [*inputs, *constants], types if len(types) > 1 else types[0])
        return self.builder.emit(made, variable)

    def _value(self, value: ir.Value, block: int) -> relax.Expr:
        """A stored value in the layout wanted; copied once where it lies otherwise."""
        constant = ir.const(value)
        if constant is not None and (value, block) not in self.held:
            return relax.const(constant, str(constant.dtype))
        if value in self.views and value not in self.home:
            self._materialize(value)
        if (value, block) not in self.held:
            source, target = _placed(value, self.home[value]), _placed(value, block)
            stored = self.held[value, self.home[value]]
            if _same_memory(source, target):
                changed = self.builder.emit(relax.op.reshape(stored, self._type(target).shape))
            else:
                changed = self._call(transform(source, target), [stored])
            self.held[value, block] = changed
        return self.held[value, block]

    def _materialize(self, value: ir.Value) -> None:
        """Give a view its own memory, or its base's where that holds the same elements in the same order."""
        view = self.views[value]
        base = self._value(view.base, 0)
        if view.is_row_major:
            self._store(value, 0, self.builder.emit(relax.op.reshape(base, self._type(_rows(value)).shape)))
        else:
            self._store(value, 0, self._call(copy(_through(value, view), _rows(value), self.cpu.lanes), [base]))

    def _store(self, value: ir.Value, block: int, expression: relax.Expr) -> None:
        self.held[value, block], self.home[value] = expression, block

    def _imported(self, node: ir.Node, name: str) -> None:
        """One node by TVM's own importer, on row-major tensors."""
        operands = {v.name or "": self._value(v, 0) for v in node.inputs if v is not None}
        found = imported(self.builder, node, operands)
        for value in node.outputs:
            if value.name in found:
                self._store(value, 0, settled(self.builder, found[value.name], self._type(_rows(value)), name))

    def _type(self, placed: Placed) -> relax.TensorType:
        return relax.TensorType([self._dim(d) for d in placed.memory], placed.dtype)

    def _dim(self, dim: Dim) -> tirx.Expr:
        if isinstance(dim, int):
            return tirx.IntImm("int64", dim)
        names = symbols.names(dim)
        known = {name: self.symbols.setdefault(name, tirx.Var(name, "int64")) for name in names}
        return symbols.evaluate(dim, known)


def ranked(family: Family, group: Group, site: Site) -> Kernel:
    """The kernel with the ranking's first tile."""
    return family.lower(group, site)


def is_elementwise(node: ir.Node) -> bool:
    """Whether the node is an expression on its operands' elements; Q and DQ are with one scale for the tensor."""
    if node.op_type not in TABLE or node.domain not in ("", "ai.onnx") or not is_batched(node):
        return False
    return node.op_type not in (Q, DQ) or is_single(node)


def _rows(value: ir.Value) -> Placed:
    return _placed(value, 0)


def _placed(value: ir.Value, block: int) -> Placed:
    dims = ir.shape(value) or ()
    wide = len(dims) >= 3 and isinstance(dims[1], int) and dims[1] > 1
    blocked = block if wide else 0
    return Placed(value.name or "", dims, str(ir.numpy_dtype(value) or "float32"), blocked)


def _through(value: ir.Value, view: View) -> Placed:
    """A view of a stored tensor, as a kernel reads or writes it."""
    return replace(_rows(value), strides=view.strides, offset=view.offset, base=ir.shape(view.base) or ())


def _same_memory(source: Placed, target: Placed) -> bool:
    """Whether both layouts put each element in the same place: one pixel, whole blocks."""
    block = source.block or target.block
    return all(d == 1 for d in source.shape[2:]) and int(source.shape[1]) % block == 0
