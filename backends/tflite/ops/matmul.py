"""Matrix products: FULLY_CONNECTED with a constant right side, BATCH_MATMUL without."""

from __future__ import annotations

from effc.backends.tflite import scheme
from effc.backends.tflite.emitter import Call, Constant
from effc.backends.tflite.ops.conv import put_bias, put_weight
from effc.backends.tflite.ops.table import TABLE, needs_constant, needs_float
from effc.compiler import ir
from effc.compiler.lowering import Why


def _check_gemm(node: ir.Node) -> Why | None:
    if ir.attr_int(node, "transA", 0):
        return Why("a transposed left side is not lowered", "transpose it before the product")
    if ir.attr_float(node, "alpha", 1.0) != 1.0 or ir.attr_float(node, "beta", 1.0) != 1.0:
        return Why("alpha and beta other than 1 are not lowered", "multiply apart")
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and any(d != 1 for d in (ir.shape(bias) or ())[:-1]):
        return Why("its third input is a matrix, not a bias", "add it apart")
    return needs_float(node) or needs_constant(node, 1, 2)


def _check_matmul(node: ir.Node) -> Why | None:
    if any(v is not None and ir.rank(v) < 2 for v in node.inputs):
        return Why("a product with a vector is not lowered", "unsqueeze the vector first")
    return needs_float(node)


@TABLE.op("Gemm", check=_check_gemm)
def gemm(call: Call) -> None:
    """y = x W + b, W as (O, I)."""
    _fully_connected(call, transposed=bool(ir.attr_int(call.node, "transB", 0)))


@TABLE.op("MatMul", check=_check_matmul)
def matmul(call: Call) -> None:
    """y = a b over the last two axes."""
    if scheme.by_matrix(call.node):
        _fully_connected(call, transposed=False)
    else:
        call.emit("BATCH_MATMUL", (call.x(0), call.x(1)), "BatchMatMul")


def _fully_connected(call: Call, *, transposed: bool) -> None:
    weight: Constant = call.constant(1)
    filters = put_weight(call, "weight", weight, (0, 1) if transposed else (1, 0), 0)
    operands = (call.x(), filters, put_bias(call, 2, weight))
    keep = ir.rank(call.value(0)) > 2
    version = 4 if call.integer else 5 if keep else 1
    call.emit(
        "FULLY_CONNECTED",
        operands,
        "FullyConnected",
        version,
        keepNumDims=keep,
        fusedActivationFunction=call.fused(),
    )
