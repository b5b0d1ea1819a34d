"""Gemm and MatMul."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from effc.backends.tvm.ops.finish import finish
from effc.backends.tvm.ops.table import Form, Site, family
from effc.backends.tvm.plan.group import Group
from effc.backends.tvm.plan.placed import Placed
from effc.backends.tvm.plan.views import permuted
from effc.backends.tvm.schedules.nest import Kernel
from effc.compiler import ir
from effc.compiler.passes.rewrite import input_at

if TYPE_CHECKING:
    from effc.backends.tvm.schedules.finish import Finish
    from effc.backends.tvm.schedules.gemm import Product

_FEW = 12
"""Rows for which a tile is chosen where the batch is a symbol."""


def rows(node: ir.Node) -> tuple[Form, ...]:
    """Row-major alone."""
    del node
    return (Form.ROWS,)


def of_floats(node: ir.Node) -> bool:
    """Whether it computes float32 or float16."""
    return str(ir.numpy_dtype(node.outputs[0])) in ("float32", "float16")


def _accepts_matmul(node: ir.Node) -> str | None:
    a, b = node.inputs[:2]
    if ir.const(a) is not None:
        return "its left side is constant"
    if not of_floats(node):
        return "it is not in float32 or float16"
    shapes = [ir.shape(v) or () for v in (a, b)]
    if min(map(len, shapes)) < 2 or any(ir.static_shape_from(v, 1) is None for v in (a, b)):
        return "its inner dims are not known"
    weight = ir.const(b)
    if weight is not None and weight.ndim > 2:
        return "its constant right side is a batch"
    if weight is None and not all(isinstance(d, int) for d in shapes[1][-2:]):
        return "its inner dims are not known"
    return None


def _accepts_gemm(node: ir.Node) -> str | None:
    if ir.const(node.inputs[0]) is not None or ir.const(node.inputs[1]) is None:
        return "its left side is constant, or its right side is not"
    if not of_floats(node) or ir.static_shape_from(node.inputs[0], 1) is None:
        return "it is not in float32 or float16 with known dims"
    if input_at(node, 2) is not None:
        bias, width = ir.const(node.inputs[2]), (ir.shape(node.outputs[0]) or (0, 0))[1]
        if bias is None or bias.size not in (1, width) or (bias.ndim > 1 and bias.shape[0] != 1):
            return "its bias is no constant row"
    if ir.attr_int(node, "transA", 0) and ir.static_shape(node.inputs[0]) is None:
        return "its left side is transposed and of no known size"
    return None


@family("MatMul", accepts=_accepts_matmul, forms=rows, strided=True)
def matmul(group: Group, site: Site) -> Kernel:
    """Rows by a constant matrix, or a batch of computed matrices."""
    node = group.anchor
    assert node is not None and node.inputs[0] is not None and node.inputs[1] is not None
    weight = ir.const(node.inputs[1])
    b = site.placed[node.inputs[1]] if weight is None else weight
    return _product(group, site, site.placed[node.inputs[0]], b, None)


@family("Gemm", accepts=_accepts_gemm, forms=rows, strided=True)
def gemm(group: Group, site: Site) -> Kernel:
    """`alpha a W + beta c`, the factors in W and c."""
    node = group.anchor
    assert node is not None and node.inputs[0] is not None
    a = site.placed[node.inputs[0]]
    weight = np.asarray(ir.const(node.inputs[1]), np.float32) * np.float32(ir.attr_float(node, "alpha", 1.0))
    given = ir.const(input_at(node, 2))
    b = weight.T if ir.attr_int(node, "transB", 0) else weight
    beta = np.float32(ir.attr_float(node, "beta", 1.0))
    bias = None if given is None else np.broadcast_to(np.asarray(given, np.float32).reshape(-1) * beta, (b.shape[1],))
    return _product(group, site, _transposed(a) if ir.attr_int(node, "transA", 0) else a, b, bias)


def _transposed(a: Placed) -> Placed:
    return permuted(a, (1, 0))


def _product(group: Group, site: Site, a: Placed, b: Placed | ir.Array, bias: ir.Array | None) -> Kernel:
    from effc.backends.tvm.schedules.gemm import Product

    return scheduled(Product(a, b, bias), finish(group, site), site)


def scheduled(work: Product, tail: Finish, site: Site) -> Kernel:
    """The product with the tile that its size and the CPU call for."""
    from effc.backends.tvm.schedules.gemm import product, ranked

    height, lanes = work.a.shape[-2], site.cpu.lanes
    work = replace(work, sums=work.a.dtype if site.cpu.width == 16 else "float32")
    tiles = ranked(height if isinstance(height, int) else _FEW, -(-work.width // lanes), site.cpu.registers)
    return product(work, tail, site.choices.choose(work.words, tiles), lanes)
