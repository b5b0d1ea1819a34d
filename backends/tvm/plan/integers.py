"""A graph with Q/DQ as kernels take it: movers move the integers, no DQ has a constant that no integer kernel reads.

Move(DQ(x)) = DQ(Move(x))      Q(DQ(x)) = x, both with the same parameters
Q_int8 with zero point z  ->  Q_uint8 with z + 128, where dot products take unsigned bytes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from effc.backends.tvm.plan.affine import DQ, Affine, Q, activation, dequantized, of_node
from effc.calibration.scheme import MOVERS
from effc.compiler import ir
from effc.compiler.ir import Array
from effc.compiler.passes.rewrite import input_at

_MOVERS = MOVERS | {"Expand", "Identity", "Pad", "ReduceMax", "ReduceMin", "Tile"}
_OFFSET = 128
Reads = Callable[[ir.Node], bool]
"""Whether the node has a kernel that reads integers."""


def integers(model: ir.Model, reads: Reads, *, unsigned: bool) -> ir.Model:
    """A new model that computes the same; activations are uint8 where `unsigned`, else int8."""
    model = model.clone()
    graph = model.graph
    for node in list(graph):
        if node.op_type in _MOVERS:
            _move(graph, node)
    for node in list(graph):
        if node.op_type == Q:
            _cancel(graph, node)
    _offset(graph, np.dtype(np.uint8 if unsigned else np.int8))
    _fold(graph, reads)
    ir.prune(model)
    return model


def _move(graph: ir.Graph, node: ir.Node) -> None:
    """`Move(DQ(x)) = DQ(Move(x))`."""
    data = list(node.inputs) if node.op_type == "Concat" else list(node.inputs[:1])
    found = [activation(v) for v in data]
    if (
        not found
        or None in found
        or len({a.parameters for a in found if a}) != 1
        or not _movable(graph, node, found[0])
    ):
        return
    read = [a for a in found if a]
    for i, affine in enumerate(read):
        node.replace_input_with(i, affine.stored)
    source = data[0].producer() if data[0] else None
    assert source is not None
    for output in node.outputs:
        _dequantize_behind(graph, node, output, source)


def _movable(graph: ir.Graph, node: ir.Node, affine: Affine | None) -> bool:
    """Whether integers can be moved so; the constant that Pad fills in is taken along."""
    if affine is None or (node.op_type == "MaxPool" and len(node.outputs) > 1):
        return False
    if node.op_type == "Resize":
        return ir.attr_str(node, "mode", "nearest") == "nearest"
    if node.op_type != "Pad":
        return True
    filling = _filling(node, affine)
    if filling is None:
        return False
    if ir.attr_str(node, "mode", "constant") == "constant":
        value = ir.initializer(graph, ir.fresh_name(graph, f"{node.name}_filling"), filling)
        node.resize_inputs(max(3, len(node.inputs)))
        node.replace_input_with(2, value)
    return True


def _filling(node: ir.Node, affine: Affine) -> Array | None:
    """What a Pad fills in, as a stored integer; None where there is none that means the same."""
    given = ir.const(node.inputs[2]) if input_at(node, 2) is not None else np.zeros(1)
    if given is None:
        return None
    scale, zero, dtype = affine.parameters
    wanted, held = float(given.item()), np.iinfo(dtype)
    filling = round(wanted / scale) + zero
    exact = (filling - zero) * scale == wanted and held.min <= filling <= held.max
    return np.array(filling, dtype) if exact else None


def _dequantize_behind(graph: ir.Graph, node: ir.Node, output: ir.Value, source: ir.Node) -> None:
    """Readers of a mover's output read it through a DequantizeLinear with the parameters of `source`."""
    made = ir.node(DQ, [output, *source.inputs[1:]])
    result = made.outputs[0]
    held = source.inputs[0]
    assert held is not None and held.dtype is not None
    result.shape, result.type = output.shape, output.type
    ir.replace_uses(output, result)
    made.replace_input_with(0, output)
    if not result.is_graph_output():
        result.name = ir.fresh_name(graph, f"{output.name}_real")
    ir.retype(output, held.dtype)
    graph.insert_after(node, made)


def _cancel(graph: ir.Graph, node: ir.Node) -> None:
    """`Q(DQ(x)) = x`."""
    read, own = activation(node.inputs[0]), of_node(node)
    if read is None or own is None or not own.single or read.parameters != own.parameters:
        return
    if not node.outputs[0].is_graph_output():
        ir.replace_uses(node.outputs[0], read.stored)
        ir.remove(graph, [node])


def _offset(graph: ir.Graph, wanted: np.dtype[np.generic]) -> None:
    """Activations in the wanted type: all of a connected set, or none where somebody else touches one of them."""
    seen: set[ir.Value] = set()
    for node in list(graph):
        start = node.outputs[0]
        if node.op_type != Q or start in seen or ir.numpy_dtype(start) in (wanted, None):
            continue
        tensors = _connected(start)
        seen |= tensors
        if all(_is_own(v) and ir.numpy_dtype(v) == ir.numpy_dtype(start) for v in tensors):
            _retype(graph, tensors, wanted)


def _connected(start: ir.Value) -> set[ir.Value]:
    """Integers that movers tie together."""
    found, waiting = {start}, [start]
    while waiting:
        value = waiting.pop()
        maker = value.producer()
        near: list[ir.Value | None] = (
            list(_data(maker)) + list(maker.outputs) if maker and maker.op_type in _MOVERS else []
        )
        for user in value.consumers():
            near += [*user.outputs, *_data(user)] if user.op_type in _MOVERS else []
        for other in near:
            if other is not None and other not in found and ir.const(other) is None:
                found.add(other)
                waiting.append(other)
    return found


def _data(node: ir.Node) -> Iterable[ir.Value | None]:
    return node.inputs if node.op_type == "Concat" else node.inputs[:1]


def _is_own(value: ir.Value) -> bool:
    """Whether only Q, DQ with single constant parameters and movers touch the tensor."""
    maker = value.producer()
    if maker is None or value.is_graph_output() or value.dtype not in (ir.DataType.INT8, ir.DataType.UINT8):
        return False
    users = [maker, *value.consumers()]
    if any(n.op_type not in (Q, DQ) and (n.op_type not in _MOVERS or n.op_type == "Pad") for n in users):
        return False
    return all((a := of_node(n)) is not None and a.single for n in users if n.op_type in (Q, DQ))


def _retype(graph: ir.Graph, tensors: set[ir.Value], wanted: np.dtype[np.generic]) -> None:
    shift = _OFFSET if wanted == np.uint8 else -_OFFSET
    users = {n for v in tensors for n in (v.producer(), *v.consumers()) if n is not None and n.op_type in (Q, DQ)}
    for node in users:
        affine = of_node(node)
        assert affine is not None
        stem = f"{affine.stored.name}_{wanted.name}_zero_point"
        zero = ir.initializer(graph, ir.fresh_name(graph, stem), (affine.zero + shift).astype(wanted))
        node.resize_inputs(3)
        node.replace_input_with(2, zero)
        node.attributes.pop("output_dtype", None)
    for value in tensors:
        ir.retype(value, ir.DataType.UINT8 if wanted == np.uint8 else ir.DataType.INT8)


def _fold(graph: ir.Graph, reads: Reads) -> None:
    """A dequantized constant becomes floats for all readers but those with an integer kernel."""
    for node in list(graph):
        if node.op_type != DQ or ir.const(node.inputs[0]) is None or node.outputs[0].is_graph_output():
            continue
        affine = dequantized(node.outputs[0])
        others = [use for use in node.outputs[0].uses() if not reads(use.node)]
        if affine is None or not others:
            continue
        name = ir.fresh_name(graph, f"{node.outputs[0].name}_float")
        value = ir.initializer(graph, name, affine.real())
        for use in others:
            use.node.replace_input_with(use.idx, value)
