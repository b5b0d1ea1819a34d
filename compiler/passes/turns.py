"""Ops that may run with their axes in another order: f(Transpose(x)) is Transpose(f'(x)), f' with axes renamed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from effc.compiler import ir
from effc.compiler.passes.rewrite import constant, input_at, is_standard

Perm = tuple[int, ...]
Inputs = list[ir.Value | None]
Turned = tuple[Inputs, Mapping[str, object]]

UNARY = frozenset(
    {"Abs", "Cast", "Ceil", "Celu", "Clip", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish"}
    | {"Identity", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu"}
    | {"Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu"}
)
BROADCAST = frozenset(
    {"Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod"}
    | {"Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor"}
)
_REDUCTIONS = frozenset(
    {"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"}
    | {"ReduceSum", "ReduceSumSquare"}
)
_ALONG_AXIS = {"Concat": 0, "Split": 0, "Softmax": -1, "LogSoftmax": -1, "Hardmax": -1, "ArgMax": 0, "ArgMin": 0}


@dataclass(frozen=True)
class Ties:
    """The operands (by position) and outputs of a node whose axes are turned together."""

    slots: tuple[int, ...]
    outputs: tuple[ir.Value, ...]


def perm_of(node: ir.Node) -> Perm | None:
    """The permutation of a Transpose; None where it is the default and the rank is not known."""
    given = ir.attr_ints(node, "perm", ())
    if given:
        return given
    dims = ir.shape(node.inputs[0])
    return None if dims is None else tuple(reversed(range(len(dims))))


def inverse(perm: Perm) -> Perm:
    """The permutation that undoes one."""
    return tuple(perm.index(axis) for axis in range(len(perm)))


def ties(node: ir.Node, perm: Perm) -> Ties | None:
    """What is turned with the node; None where it cannot run with its axes turned by `perm`."""
    if not is_standard(node):
        return None
    for ops, rule in _TIES:
        if node.op_type in ops:
            return rule(node, perm)
    return None


def turned(node: ir.Node, perm: Perm, root: ir.Node) -> Turned:
    """Inputs and attributes of the node that computes Transpose(y, perm) from Transpose(x, perm).

    Tied operands are left as they are; new constants are made beside `root`.
    """
    inputs: Inputs = list(node.inputs)
    attributes: dict[str, object] = dict(node.attributes)
    if node.op_type in BROADCAST:
        return [_turned_constant(v, perm, root) for v in inputs], attributes
    if node.op_type in _ALONG_AXIS or node.op_type == "Gather":
        axis = ir.attr_int(node, "axis", _ALONG_AXIS.get(node.op_type, 0)) % len(perm)
        return inputs, {**attributes, "axis": perm.index(axis)}
    if node.op_type in _REDUCTIONS:
        inputs[1:] = _turned_axes(node, 1, perm, root)
    elif node.op_type == "Slice":
        inputs[3:] = [*_turned_axes(node, 3, perm, root), *inputs[4:]]
    elif node.op_type == "Pad":
        inputs = _turned_pads(node, perm, root)
    elif node.op_type in ("Expand", "Tile"):
        array = ir.const(inputs[1])
        assert array is not None
        inputs[1] = constant(root, "turned", array[list(perm)])
    return inputs, attributes


def _turned_constant(value: ir.Value | None, perm: Perm, root: ir.Node) -> ir.Value | None:
    array = ir.const(value)
    if array is None or array.size == 1:
        return value
    full = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
    return constant(root, "turned", np.transpose(full, perm))


def _turned_axes(node: ir.Node, index: int, perm: Perm, root: ir.Node) -> Inputs:
    axes = _axes(node, index, len(perm))
    if axes is None or (input_at(node, index) is None and node.op_type != "Slice"):
        return []
    return [constant(root, "axes", np.array([perm.index(a) for a in axes], np.int64))]


def _turned_pads(node: ir.Node, perm: Perm, root: ir.Node) -> Inputs:
    axes, amounts = _axes(node, 3, len(perm)), ir.const(node.inputs[1])
    assert axes is not None and amounts is not None
    if input_at(node, 3) is not None:
        return [*node.inputs[:3], *_turned_axes(node, 3, perm, root)]
    pads = amounts.reshape(2, -1)[:, list(perm)].ravel()
    return [node.inputs[0], constant(root, "pads", pads), *node.inputs[2:]]


# which operands and outputs turn together


def _first(node: ir.Node, perm: Perm) -> Ties | None:
    """The first input and the first output."""
    ranked = ir.rank(node.inputs[0]) == len(perm) == ir.rank(node.outputs[0])
    return Ties((0,), (node.outputs[0],)) if ranked else None


def _broadcast(node: ir.Node, perm: Perm) -> Ties | None:
    if ir.rank(node.outputs[0]) != len(perm):
        return None
    slots = []
    for slot, value in enumerate(node.inputs):
        dims = ir.shape(value)
        if value is None or dims is None or len(dims) > len(perm):
            return None
        if ir.const(value) is not None or all(d == 1 for d in dims):
            continue
        if len(dims) != len(perm):
            return None
        slots.append(slot)
    return Ties(tuple(slots), (node.outputs[0],)) if slots else None


def _along_axis(node: ir.Node, perm: Perm) -> Ties | None:
    if node.op_type in ("ArgMax", "ArgMin") and not ir.attr_int(node, "keepdims", 1):
        axis = ir.attr_int(node, "axis", 0) % len(perm)
        return _absorbing(node, perm, (axis,))
    if node.op_type != "Concat":
        return Ties((0,), tuple(node.outputs)) if ir.rank(node.inputs[0]) == len(perm) else None
    if any(v is None or ir.rank(v) != len(perm) for v in node.inputs):
        return None
    return Ties(tuple(i for i, v in enumerate(node.inputs) if ir.const(v) is None), tuple(node.outputs))


def _concat(node: ir.Node, perm: Perm) -> Ties | None:
    """Constants among the parts would have to be turned as well: left alone."""
    return None if any(ir.const(v) is not None for v in node.inputs) else _along_axis(node, perm)


def _gather(node: ir.Node, perm: Perm) -> Ties | None:
    indices = ir.shape(node.inputs[1])
    if indices is None or len(indices) > 1 or ir.rank(node.inputs[0]) != len(perm):
        return None
    axis = ir.attr_int(node, "axis", 0) % len(perm)
    return Ties((0,), (node.outputs[0],)) if indices else _absorbing(node, perm, (axis,))


def _reduction(node: ir.Node, perm: Perm) -> Ties | None:
    axes = _axes(node, 1, len(perm))
    if axes is None or ir.rank(node.inputs[0]) != len(perm):
        return None
    if input_at(node, 1) is None and ir.attr_int(node, "noop_with_empty_axes", 0):
        return None
    return Ties((0,), (node.outputs[0],)) if ir.attr_int(node, "keepdims", 1) else _absorbing(node, perm, axes)


def _absorbing(node: ir.Node, perm: Perm, gone: tuple[int, ...]) -> Ties | None:
    """An op that drops axes gives the same whatever their order, while those left keep theirs."""
    left = [a for a in perm if a not in gone]
    return Ties((0,), ()) if left == sorted(left) and ir.rank(node.inputs[0]) == len(perm) else None


def _with_axes(index: int) -> Callable[[ir.Node, Perm], Ties | None]:
    def rule(node: ir.Node, perm: Perm) -> Ties | None:
        known = _axes(node, index, len(perm)) is not None and ir.const(node.inputs[1]) is not None
        return _first(node, perm) if known else None

    return rule


def _per_axis(node: ir.Node, perm: Perm) -> Ties | None:
    array = ir.const(node.inputs[1])
    return _first(node, perm) if array is not None and array.size == len(perm) else None


def _axes(node: ir.Node, index: int, rank: int) -> Perm | None:
    """Constant axes, counted from 0; all (of a Slice: as many as it has starts) where they are left out."""
    value = input_at(node, index)
    if value is None:
        starts = ir.const(node.inputs[1]) if node.op_type == "Slice" else None
        return tuple(range(rank if starts is None else starts.size))
    array = ir.const(value)
    return None if array is None else tuple(int(a) % rank for a in array.ravel())


_TIES: tuple[tuple[frozenset[str], Callable[[ir.Node, Perm], Ties | None]], ...] = (
    (UNARY, _first),
    (BROADCAST, _broadcast),
    (frozenset({"Concat"}), _concat),
    (frozenset(_ALONG_AXIS), _along_axis),
    (_REDUCTIONS, _reduction),
    (frozenset({"Gather"}), _gather),
    (frozenset({"Slice", "Pad"}), _with_axes(3)),
    (frozenset({"Expand", "Tile"}), _per_axis),
)
