"""Products of matrices take transposed operands, and give transposed results, as Gemm: no Transpose is left."""

from __future__ import annotations

import numpy as np

from effc.compiler import ir
from effc.compiler.passes.rewrite import (
    constant,
    each,
    input_at,
    is_float,
    is_private,
    is_row,
    maker,
    replace,
    same_shape,
)
from effc.compiler.passes.turns import perm_of
from effc.compiler.phase import Step

_SIDES = ("transA", "transB")


def turned_operand(node: ir.Node) -> bool:
    """Gemm(Transpose(a), b) is Gemm(a, b, transA=1), and so for b."""
    inputs, turns = list(node.inputs), _turns(node)
    for side, value in enumerate(node.inputs[:2]):
        source = _source(value)
        if source is not None:
            inputs[side], turns[side] = source, 1 - turns[side]
    return inputs != list(node.inputs) and replace(node, "Gemm", inputs, {**node.attributes, **_named(turns)})


def turned_factor(node: ir.Node) -> bool:
    """MatMul(Transpose(a), b) of matrices is Gemm(a, b, transA=1), where nothing else reads the Transpose."""
    inputs: list[ir.Value | None] = []
    turns = []
    for value in node.inputs:
        source = _source(value) if value is not None and is_private(value) else None
        inputs.append(value if source is None else source)
        turns.append(int(source is not None))
    return any(turns) and _are_matrices(node) and replace(node, "Gemm", inputs, _named(turns))


def turned_result(node: ir.Node) -> bool:
    """Transpose(a b + c) is bT aT + cT, which Gemm takes as it is; c is constant."""
    product = None if perm_of(node) != (1, 0) else maker(node.inputs[0], "Gemm", "MatMul")
    if product is None or not is_private(product.outputs[0]) or not _are_matrices(product):
        return False
    a, b, c = (*product.inputs[:2], input_at(product, 2))
    array = ir.const(c)
    if c is not None and array is None:
        return False
    bias = [] if array is None else [constant(node, "bias", np.atleast_2d(array).T)]
    turns = [1 - turn for turn in reversed(_turns(product))]
    return replace(node, "Gemm", [b, a, *bias], {**product.attributes, **_named(turns)})


def with_bias(node: ir.Node) -> bool:
    """a b + c of matrices is Gemm(a, b, c), for a constant c that all rows have and for any c of their shape."""
    if len(node.inputs) != 2:
        return False
    for value, other in (node.inputs, reversed(node.inputs)):
        product = maker(value, "MatMul", "Gemm")
        if product is None or not is_private(product.outputs[0]) or input_at(product, 2) is not None:
            continue
        if _are_matrices(product) and other is not value and _is_bias(other, product.outputs[0]):
            attributes = {name: held for name, held in product.attributes.items() if name != "beta"}
            return replace(node, "Gemm", [*product.inputs[:2], other], attributes)
    return False


def _is_bias(value: ir.Value | None, product: ir.Value) -> bool:
    """Whether Gemm takes the value as its third operand, and gives what a sum would."""
    array, columns = ir.const(value), (ir.shape(product) or (None,))[-1]
    is_one = array is not None and isinstance(columns, int) and is_row(array, columns)
    return value is not None and (is_one or same_shape(value, product))


def _are_matrices(node: ir.Node) -> bool:
    return is_float(node.outputs[0]) and all(ir.rank(value) == 2 for value in node.inputs[:2])


def _source(value: ir.Value | None) -> ir.Value | None:
    """The matrix that the value is the transposed of."""
    turn = maker(value, "Transpose")
    return turn.inputs[0] if turn is not None and perm_of(turn) == (1, 0) else None


def _turns(node: ir.Node) -> list[int]:
    return [ir.attr_int(node, side, 0) for side in _SIDES]


def _named(turns: list[int]) -> dict[str, object]:
    return dict(zip(_SIDES, turns, strict=True))


STEPS = (
    Step("transposed operands", each(turned_operand, "Gemm")),
    Step("transposed factors", each(turned_factor, "MatMul"), since=11),
    Step("transposed products", each(turned_result, "Transpose"), since=11),
    Step("products with a bias", each(with_bias, "Add", "Sum")),
)
"""Gemm does without a third operand since opset 11."""
