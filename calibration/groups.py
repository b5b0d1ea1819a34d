"""Parameters of every quantized tensor: tensors tied by same-scale ops share one set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce

import numpy as np

from effc.calibration.formats import limits
from effc.calibration.plan import Plan, fixed_output
from effc.calibration.scheme import QParams
from effc.calibration.settled import settled
from effc.compiler import ir
from effc.compiler.ranges import Range


@dataclass
class UnionFind:
    """Disjoint sets of tensors (Tarjan, 1975, with path halving)."""

    parent: dict[ir.Value, ir.Value] = field(default_factory=dict)

    def find(self, value: ir.Value) -> ir.Value:
        """The set's representative."""
        self.parent.setdefault(value, value)
        while self.parent[value] is not value:
            self.parent[value] = self.parent[self.parent[value]]
            value = self.parent[value]
        return value

    def union(self, values: Iterable[ir.Value]) -> None:
        """Put all of them into one set."""
        first = None
        for value in values:
            root = self.find(value)
            first = first or root
            self.parent[root] = first


def assign(plan: Plan, ranges: Mapping[str, Range]) -> dict[ir.Value, QParams]:
    """Parameters of each quantized tensor, in graph order.

    Each same-scale group gets the union of its ranges. A tensor whose parameters are fixed (by its kernel, or by Q/DQ
    in the input) gives them to the group where they cover it, or where it is a same-scale op's own output; elsewhere
    the two differ, and whoever consumes it there requantizes.
    """
    tensors = list(dict.fromkeys(v for node in plan.nodes for v in (*_inputs(plan, node), *plan.outputs(node))))
    fixed = {v: q for v in tensors if (q := fixed_output(plan, v) or settled(v)) is not None}
    movers = [n for n in plan.nodes if n.op_type in plan.scheme.same_scale]
    sets = UnionFind()
    for node in movers:
        sets.union(v for v in (*_inputs(plan, node), *plan.outputs(node)) if v not in fixed)
    members: dict[ir.Value, list[ir.Value]] = {}
    for value in tensors:
        if value not in fixed:
            members.setdefault(sets.find(value), []).append(value)
    spans = {root: reduce(Range.union, (_range(v, ranges) for v in group)) for root, group in members.items()}
    adopted = _adopted(plan, movers, fixed, (sets, spans))
    return {
        v: fixed[v] if v in fixed else adopted.get(sets.find(v)) or plan.scheme.qparams(spans[sets.find(v)])
        for v in tensors
    }


def _adopted(
    plan: Plan,
    movers: Iterable[ir.Node],
    fixed: Mapping[ir.Value, QParams],
    groups: tuple[UnionFind, Mapping[ir.Value, Range]],
) -> dict[ir.Value, QParams]:
    """Groups that take over the parameters of a fixed neighbour."""
    sets, spans = groups
    found: dict[ir.Value, QParams] = {}
    for node in movers:
        around = [*plan.outputs(node), *_inputs(plan, node)]
        roots = {sets.find(v) for v in around if v not in fixed}
        for value in (v for v in around if v in fixed):
            for root in roots:
                if value in node.outputs or _covers(fixed[value], spans[root]):
                    found.setdefault(root, fixed[value])
    return found


def _inputs(plan: Plan, node: ir.Node) -> tuple[ir.Value, ...]:
    """Quantized inputs, without tensors inside a fused kernel."""
    values = (node.inputs[i] for i in plan.activations(node))
    return tuple(v for v in values if v is not None and v not in plan.inner)


def _range(value: ir.Value, ranges: Mapping[str, Range]) -> Range:
    array = ir.const(value)
    if array is None:
        return ranges[value.name or ""]
    return Range(float(np.min(array)), float(np.max(array))) if array.size else Range(0.0, 0.0)


def _covers(params: QParams, wanted: Range) -> bool:
    """Whether the parameters represent the range, up to half a step at its ends."""
    held = limits(params.dtype)
    lo, hi = ((limit - params.zero_point) * params.scale for limit in (held.lo, held.hi))
    return lo - params.scale / 2 <= wanted.lo and wanted.hi <= hi + params.scale / 2
