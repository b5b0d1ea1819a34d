"""Products and affine maps in the form of kernels with constant weights."""

from __future__ import annotations

import numpy as np

from effc.compiler import ir
from effc.compiler.edit import Before
from effc.compiler.passes import affine
from effc.compiler.passes.rewrite import graph_of

LINEAR_CARRIERS = frozenset(
    {"AveragePool", "GlobalAveragePool", "Mul", "ReduceMean", "Reshape", "Squeeze", "Transpose"}
)


def gemm_form(node: ir.Node) -> bool:
    """alpha x W + beta b with constant W and b is x W' + b'; a transposed x becomes a Transpose."""
    if node.op_type != "Gemm":
        return False
    weight, alpha, beta = ir.const(node.inputs[1]), ir.attr_float(node, "alpha", 1.0), ir.attr_float(node, "beta", 1.0)
    given = node.inputs[2] if len(node.inputs) > 2 else None
    bias, left = ir.const(given), bool(ir.attr_int(node, "transA", 0))
    if weight is None or (given is not None and bias is None) or (alpha == 1.0 and beta == 1.0 and not left):
        return False
    before = Before(node)
    operands = [before.op("Transpose", node.inputs[0], perm=[1, 0]) if left else node.inputs[0]]
    operands.append(before.const("weight", np.asarray(weight, np.float32) * np.float32(alpha)))
    if bias is not None:
        operands.append(before.const("bias", np.asarray(bias, np.float32) * np.float32(beta)))
    return before.replace(before.op("Gemm", *operands, transB=ir.attr_int(node, "transB", 0)))


def scale_into_consumers(node: ir.Node) -> bool:
    """W (s x) is (s W) x: a scalar factor moves into the weights of the convolutions and products that read it."""
    if node.op_type != "Mul":
        return False
    factor = next((c for v in node.inputs if (c := ir.const(v)) is not None and c.size == 1), None)
    data = next((v for v in node.inputs if ir.const(v) is None), None)
    if factor is None or data is None or node.outputs[0].is_graph_output() or ir.rank(data) < factor.ndim:
        return False
    carriers: list[ir.Node] = []
    readers = _linear_readers(node.outputs[0], carriers)
    scaled = {node.outputs[0], *(carrier.outputs[0] for carrier in carriers)}
    if not readers or any(sum(v in scaled for v in carrier.inputs) > 1 for carrier in carriers):
        return False
    for reader in readers:
        weight = ir.const(reader.inputs[1])
        scaled = np.asarray(weight) * factor.reshape(())
        reader.replace_input_with(1, Before(reader).const("scaled", scaled.astype(np.float32)))
    for carrier in carriers:
        carrier.outputs[0].name = ir.fresh_name(graph_of(node), f"{carrier.outputs[0].name}_unscaled")
    ir.replace_uses(node.outputs[0], data)
    ir.remove(graph_of(node), [node])
    return True


def _linear_readers(value: ir.Value, carriers: list[ir.Node]) -> list[ir.Node] | None:
    """All weight-carrying readers behind a value, through ops that commute with a factor; None if any is not."""
    found: list[ir.Node] = []
    for node in value.consumers():
        if node.op_type in LINEAR_CARRIERS and not node.outputs[0].is_graph_output():
            carriers.append(node)
            behind = _linear_readers(node.outputs[0], carriers)
            if behind is None:
                return None
            found += behind
        elif _has_weight(node) and node.inputs[0] is value:
            found.append(node)
        else:
            return None
    return found if not value.is_graph_output() else None


def _has_weight(node: ir.Node) -> bool:
    return node.op_type in ("Conv", "Gemm", "MatMul") and ir.const(node.inputs[1]) is not None


def constant_affine(node: ir.Node) -> bool:
    """What an added affine map was for: it goes into the convolution or product before it."""
    return node.op_type in ("Mul", "Add") and affine.constant_affine(node)
