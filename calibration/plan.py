"""Plan: which nodes run quantized, and which tensors stay inside a fused kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from effc.calibration.scheme import OpRule, QParams, Scheme
from effc.calibration.settled import is_dequantized, settled
from effc.compiler import ir
from effc.compiler.passes.rewrite import only_reader
from effc.compiler.ranges import Range

_NO_RULE = OpRule()
OTHER_FLOATS = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
"""Nodes on these stay as they are: Q/DQ stand for float32."""
_DATA_INPUTS = {"Clip": 1, "Pad": 1, "Resize": 1, "Reshape": 1, "Slice": 1, "Dropout": 1}
"""Ops whose later float inputs are parameters of the op, not data."""


@dataclass(frozen=True)
class Plan:
    """What a scheme makes of a model.

    Attributes:
        nodes: the nodes that run quantized, in graph order.
        inner: tensors between a producer and the activation that is fused into it.
        read: tensors that one of the nodes takes quantized.
    """

    scheme: Scheme
    nodes: tuple[ir.Node, ...]
    inner: frozenset[ir.Value]
    read: frozenset[ir.Value]

    def rule(self, node: ir.Node) -> OpRule:
        """The node's rule."""
        return self.scheme.ops.get(node.op_type, _NO_RULE)

    def activations(self, node: ir.Node) -> tuple[int, ...]:
        """Positions of the inputs that enter the kernel quantized with parameters of their own."""
        return activations(node, self.rule(node))

    def outputs(self, node: ir.Node) -> tuple[ir.Value, ...]:
        """Outputs that leave the kernel quantized."""
        return tuple(v for v in node.outputs if v not in self.inner and self._leaves(v))

    def _leaves(self, value: ir.Value) -> bool:
        return value in self.read if self.scheme.float_outputs else bool(value.uses() or value.is_graph_output())


def make_plan(model: ir.Model, ranges: Mapping[str, Range], scheme: Scheme, keep_float: Sequence[str] = ()) -> Plan:
    """The largest set of nodes that the scheme takes and whose tensors all have ranges."""
    wanted = [n for n in model.graph if _wanted(n, scheme) and not _kept(n, keep_float)]
    while True:
        plan = _plan_of(wanted, scheme)
        able = [n for n in wanted if _has_ranges(plan, n, ranges) and _is_inside(plan, n) and _is_needed(plan, n)]
        able = _near_compute(able, scheme)
        if len(able) == len(wanted):
            return plan
        wanted = able


def _plan_of(nodes: Sequence[ir.Node], scheme: Scheme) -> Plan:
    inner = _fused_tensors(nodes, scheme)
    taken = {n.inputs[i] for n in nodes for i in activations(n, scheme.ops.get(n.op_type, _NO_RULE))}
    return Plan(scheme, tuple(nodes), inner, frozenset(v for v in taken if v is not None and v not in inner))


def activations(node: ir.Node, rule: OpRule) -> tuple[int, ...]:
    """Positions of data inputs: the rule's, a weight that is no constant included, the constant weight and bias not."""
    end = min(len(node.inputs), _DATA_INPUTS.get(node.op_type, len(node.inputs)))
    positions = [i for i in (range(end) if rule.inputs is None else rule.inputs) if i < end]
    own = {rule.bias, rule.weight if has_weight(node, rule) else None}
    return tuple(i for i in positions if i not in own and _is_float(node.inputs[i]))


def has_weight(node: ir.Node, rule: OpRule) -> bool:
    """Whether the node's weight is a constant, or comes dequantized from one."""
    if rule.weight is None or rule.weight >= len(node.inputs):
        return False
    value = node.inputs[rule.weight]
    return ir.const(value) is not None or (value is not None and settled(value) is not None)


def _is_float(value: ir.Value | None) -> bool:
    """Whether there is a value and it holds floats; one of unknown type counts as float."""
    if value is None:
        return False
    array = ir.const(value)
    return array.dtype.kind == "f" if array is not None else value.dtype in (None, ir.DataType.FLOAT)


def _wanted(node: ir.Node, scheme: Scheme) -> bool:
    if node.domain not in ("", "ai.onnx") or node.op_type not in scheme.ops or not scheme.accepts(node):
        return False
    if any(v is not None and v.dtype in OTHER_FLOATS for v in (*node.inputs, *node.outputs)):
        return False
    rule = scheme.ops[node.op_type]
    if rule.weight is not None and not has_weight(node, rule):
        return False
    return node.op_type != "Gemm" or is_plain(node)


def is_plain(gemm: ir.Node) -> bool:
    """x @ w + b without the factors that int32 biases could not follow, and with one b for all rows."""
    factors = ir.attr_float(gemm, "alpha", 1.0), ir.attr_float(gemm, "beta", 1.0)
    bias = ir.shape(gemm.inputs[2]) if len(gemm.inputs) > 2 else None
    rows = all(d == 1 for d in (bias or ())[:-1])
    return factors == (1.0, 1.0) and rows and not ir.attr_int(gemm, "transA", 0)


def _kept(node: ir.Node, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(node.name or "", glob) for glob in globs)


def _fused_tensors(nodes: Sequence[ir.Node], scheme: Scheme) -> frozenset[ir.Value]:
    """Single outputs with a single quantized consumer that the scheme fuses into their producer."""
    members = set(nodes)
    found = set()
    for node in nodes:
        reader = only_reader(node.outputs[0])
        if len(node.outputs) == 1 and reader in members and scheme.fused(node, reader):
            found.add(node.outputs[0])
    return frozenset(found)


def _has_ranges(plan: Plan, node: ir.Node, ranges: Mapping[str, Range]) -> bool:
    def known(value: ir.Value | None) -> bool:
        if value is None or value in plan.inner:
            return True
        return value.name in ranges or ir.const(value) is not None or settled(value) is not None

    fixed = plan.rule(node).output is not None
    return all(known(node.inputs[i]) for i in plan.activations(node)) and (fixed or all(map(known, plan.outputs(node))))


def _is_inside(plan: Plan, node: ir.Node) -> bool:
    """Whether the node is in its producer's kernel, if it has to be."""
    return not plan.rule(node).inside or node.inputs[0] in plan.inner


def _is_needed(plan: Plan, node: ir.Node) -> bool:
    """Whether a quantized node takes what a passive one makes, where kernels could as well put out floats."""
    if not plan.scheme.float_outputs or node.op_type not in plan.scheme.followers:
        return True
    return any(v in plan.inner or v in plan.read for v in node.outputs)


def _near_compute(nodes: Sequence[ir.Node], scheme: Scheme) -> list[ir.Node]:
    """Without the passive nodes that no computing quantized node is connected to: they only move floats."""
    reached = {n for n in nodes if n.op_type not in scheme.followers or _takes_integers(n)}
    movers = [n for n in nodes if n not in reached]
    while near := [n for n in movers if n not in reached and _neighbours(n) & reached]:
        reached.update(near)
    return [n for n in nodes if n in reached]


def _takes_integers(node: ir.Node) -> bool:
    return any(value is not None and is_dequantized(value) for value in node.inputs)


def _neighbours(node: ir.Node) -> set[ir.Node]:
    producers = {p for v in node.inputs if v is not None and (p := v.producer()) is not None}
    return producers | {use.node for v in node.outputs for use in v.uses()}


def fixed_output(plan: Plan, value: ir.Value) -> QParams | None:
    """Parameters that the kernel making `value` demands."""
    producer = value.producer()
    return plan.rule(producer).output if producer is not None and producer in set(plan.nodes) else None
