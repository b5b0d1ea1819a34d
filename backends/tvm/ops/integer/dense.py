"""Gemm and MatMul of bytes by a constant matrix."""

from __future__ import annotations

import numpy as np

from effc.backends.tvm.ops.finish import finish
from effc.backends.tvm.ops.table import INTEGER, Form, Site, family
from effc.backends.tvm.plan import affine
from effc.backends.tvm.plan.group import Group
from effc.backends.tvm.schedules.nest import Kernel
from effc.calibration.scheme import gemm_axis
from effc.compiler import ir
from effc.compiler.ir import Array
from effc.compiler.passes.rewrite import input_at


def _accepts(node: ir.Node) -> str | None:
    weight = affine.weights(node.inputs[1])
    if affine.activation(node.inputs[0]) is None or weight is None:
        return "it does not read bytes with weights around 0"
    if ir.rank(weight.stored) != 2 or not all(isinstance(d, int) for d in (ir.shape(node.inputs[0]) or ("?",))[1:]):
        return "its matrix or its input has dims that are not known"
    if not weight.single and weight.axis % 2 != gemm_axis(node):
        return "its weights have no scale for each output"
    if ir.attr_int(node, "transA", 0) or ir.rank(node.inputs[0]) < 2:
        return "its rows are columns"
    return _refused_bias(node)


def _refused_bias(node: ir.Node) -> str | None:
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return None
    bias = affine.constant(node.inputs[2])
    if bias is None:
        return "its bias is computed"
    return None if all(d == 1 for d in bias.shape[:-1]) else "its bias differs from row to row"


def _rows(node: ir.Node) -> tuple[Form, ...]:
    del node
    return (Form.ROWS,)


@family("Gemm", "MatMul", accepts=_accepts, forms=_rows, table=INTEGER)
def dense(group: Group, site: Site) -> Kernel:
    """Rows of bytes by a matrix."""
    from effc.backends.tvm.schedules.integer import dot
    from effc.backends.tvm.schedules.integer.dense import Product, product
    from effc.backends.tvm.schedules.integer.tiles import ranked

    node, lanes = group.anchor, site.cpu.lanes
    assert node is not None
    source, held = affine.activation(node.inputs[0]), affine.weights(node.inputs[1])
    assert source is not None and held is not None
    weight = np.asarray(ir.const(held.stored))
    weight = weight.T if ir.attr_int(node, "transB", 0) else weight
    outputs = weight.shape[1]
    scale = source.scale * held.scale * np.float32(ir.attr_float(node, "alpha", 1.0))
    work = Product(
        x=site.placed[source.stored],
        zero=int(source.zero.item()),
        weight=weight,
        scale=np.broadcast_to(scale, (outputs,)).astype(np.float32),
        bias=_bias(node, outputs),
    )
    rows = 1 if work.rows is None else work.rows
    tile = site.choices.choose(work.words, ranked(rows, -(-outputs // lanes), site.cpu.registers))
    return product(work, finish(group, site), tile, dot.of(site.cpu), lanes)


def _bias(node: ir.Node, outputs: int) -> Array:
    given = affine.constant(input_at(node, 2))
    if given is None:
        return np.zeros(outputs, np.float32)
    bias = np.asarray(given, np.float32).reshape(-1) * np.float32(ir.attr_float(node, "beta", 1.0))
    return np.broadcast_to(bias, (outputs,)).astype(np.float32)
