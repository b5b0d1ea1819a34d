"""What a model computes and holds: multiply-accumulates, operations and parameters, op by op.

A MAC is a product that is added to a sum, two FLOPs; of a node that computes each element of its output from those in
its place, an element is one FLOP, whatever the function. What moves data costs nothing.
Source: Sze, Chen, Yang, Emer, "Efficient Processing of Deep Neural Networks", 2020, chapters 2 and 4.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from effc.compiler import ir
from effc.compiler.extents import ops
from effc.compiler.formulas import FORMULAS, FREE, Work
from effc.compiler.walk import stored, with_inner, within

_READERS = ops("ConvInteger DequantizeLinear MatMulInteger QLinearConv QLinearMatMul")
"""Ops that read weights stored as integers."""


@dataclass(frozen=True)
class OpCost:
    """All nodes of one op. What is inside a branch or a loop counts with the node that holds it.

    Attributes:
        parameters: elements of the weights that they are the first to read.
        share: fraction 0..1 of all MACs.
        uncounted: nodes, those within others too, whose shapes are not known or whose op has no formula: their work is
            missing.
    """

    op: str
    nodes: int
    parameters: int
    macs: int
    flops: int
    share: float
    uncounted: int


@dataclass(frozen=True)
class Costs:
    """The whole model; `ops` has the ones with most MACs first."""

    parameters: int
    parameter_bytes: int
    macs: int
    flops: int
    ops: tuple[OpCost, ...]


@dataclass
class _Sum:
    nodes: int = 0
    parameters: int = 0
    work: Work = field(default_factory=Work)


def costs(model: ir.Model) -> Costs:
    """Count a model whose shapes are numbers: nodes with others are in `uncounted`."""
    sums: dict[str, _Sum] = defaultdict(_Sum)
    weights: dict[ir.Value, int] = {}
    for node in model.graph:
        own = sums[node.op_type]
        own.nodes += 1
        own.work += work(node)
        for value, elements, size in _parameters(node):
            own.parameters += 0 if value in weights else elements
            weights[value] = size
    total = sum((own.work for own in sums.values()), Work())
    rows = (_row(op, own, total) for op, own in sums.items())
    ordered = tuple(sorted(rows, key=lambda row: (-row.macs, -row.flops, -row.parameters, row.op)))
    parameters = sum(own.parameters for own in sums.values())
    return Costs(parameters, sum(weights.values()), total.macs, total.flops, ordered)


def _row(op: str, own: _Sum, total: Work) -> OpCost:
    share = own.work.macs / total.macs if total.macs else 0.0
    return OpCost(op, own.nodes, own.parameters, own.work.macs, own.work.flops, share, own.work.unknown)


def work(node: ir.Node) -> Work:
    """What one run of the node computes.

    Of branches the dearest counts, of a loop its body once for each turn where their number is constant, else once.
    """
    inner = [sum(map(work, graph), Work()) for graph in within(node)]
    if inner:
        return max(inner, key=lambda found: (found.macs, found.flops)) * _turns(node)
    own = node.domain in ("", "ai.onnx")
    if own and node.op_type in FREE:
        return Work()
    known = own and node.op_type in FORMULAS and _is_static(node)
    return FORMULAS[node.op_type].function(node) if known else Work(unknown=1)


def _turns(node: ir.Node) -> int:
    """How often the body of a loop runs."""
    if node.op_type == "Loop":
        count = ir.const(node.inputs[0])
        return 1 if count is None else max(int(count.item()), 0)
    if node.op_type == "Scan":
        scanned = (ir.shape(value) for value in node.inputs[-ir.attr_int(node, "num_scan_inputs", 1) :])
        return next((dims[0] for dims in scanned if dims and isinstance(dims[0], int)), 1)
    return 1


def _is_static(node: ir.Node) -> bool:
    values = (*node.inputs, *(value for value in node.outputs if value.name))
    return all(value is None or ir.static_shape(value) is not None for value in values)


def _parameters(node: ir.Node) -> Iterator[tuple[ir.Value, int, int]]:
    """The weights that the node or one within it reads, each with its elements and bytes."""
    for reader in with_inner(node):
        for value in reader.inputs:
            tensor = None if value is None else stored(value)
            if value is None or tensor is None:
                continue
            if tensor.dtype.is_floating_point() or (reader.op_type in _READERS and tensor.size > 1):
                yield value, int(tensor.size), int(tensor.nbytes)
