"""Element-wise operators: one builtin each, constants brought to the output's rank and layout."""

from __future__ import annotations

import numpy as np

from effc.backends.tflite import scheme
from effc.backends.tflite.emitter import Call
from effc.backends.tflite.layout import to_last
from effc.backends.tflite.ops.table import TABLE, needs_constant, needs_dtype, needs_float, never
from effc.backends.tflite.writer import Array, TensorSpec
from effc.compiler import ir
from effc.compiler.lowering import Why
from effc.compiler.passes.fuse import bounds

UNARY = {
    "Abs": ("ABS", "Abs"),
    "Ceil": ("CEIL", ""),
    "Cos": ("COS", "Cos"),
    "Exp": ("EXP", "Exp"),
    "Floor": ("FLOOR", ""),
    "HardSwish": ("HARD_SWISH", "HardSwish"),
    "Log": ("LOG", ""),
    "Neg": ("NEG", "Neg"),
    "Not": ("LOGICAL_NOT", "LogicalNot"),
    "Round": ("ROUND", ""),
    "Sigmoid": ("LOGISTIC", ""),
    "Sign": ("SIGN", "Sign"),
    "Sin": ("SIN", ""),
    "Sqrt": ("SQRT", ""),
    "Tanh": ("TANH", ""),
}
ARITHMETIC = {"Add": "Add", "Sub": "Sub", "Mul": "Mul", "Div": "Div"}
BINARY = {
    "And": ("LOGICAL_AND", "LogicalAnd"),
    "Equal": ("EQUAL", "Equal"),
    "Greater": ("GREATER", "Greater"),
    "GreaterOrEqual": ("GREATER_EQUAL", "GreaterEqual"),
    "Less": ("LESS", "Less"),
    "LessOrEqual": ("LESS_EQUAL", "LessEqual"),
    "Max": ("MAXIMUM", "MaximumMinimum"),
    "Min": ("MINIMUM", "MaximumMinimum"),
    "Or": ("LOGICAL_OR", "LogicalOr"),
    "Pow": ("POW", "Pow"),
}


def operand(call: Call, position: int) -> int:
    """The operand's tensor; a constant gets leading ones up to the output's rank, then the call's layout."""
    value = call.value(position)
    data = ir.const(value) if not call.integer else None
    if data is None and call.integer and ir.const(value) is not None:
        data = call.constant(position).integers
    if data is None:
        return call.x(position)
    return put_broadcast(call, value, data)


def put_broadcast(call: Call, value: ir.Value, data: Array) -> int:
    """Add constant data of lower rank as a tensor that broadcasts in the call's layout."""
    size = ir.rank(call.planned.outputs[0])
    if call.last and data.ndim:
        data = data.reshape((1,) * (size - data.ndim) + data.shape).transpose(to_last(size))
    spec = call.emitter.spec(value, last=False)
    return call.writer.constant(TensorSpec(spec.name, data.shape, spec.dtype, spec.quant), data)


def _register_unary(op: str, builtin: str, kind: str) -> None:
    @TABLE.op(op, check=None if op == "Not" else needs_float, slow=never() if op == "Sign" else None)
    def unary(call: Call) -> None:
        call.emit(builtin, (call.x(),), kind, 2 if call.integer else 1)


def _register_arithmetic(op: str, kind: str) -> None:
    @TABLE.op(op, check=_same_types)
    def arithmetic(call: Call) -> None:
        operands = (operand(call, 0), operand(call, 1))
        call.emit(kind.upper(), operands, kind, 2 if call.integer else 1, fusedActivationFunction=call.fused())


def _register_binary(op: str, builtin: str, kind: str) -> None:
    @TABLE.op(op, check=_two_operands, slow=never() if op == "Pow" else None)
    def binary(call: Call) -> None:
        call.emit(builtin, (operand(call, 0), operand(call, 1)), kind)


def _same_types(node: ir.Node) -> Why | None:
    return needs_dtype(node, ir.DataType.FLOAT, ir.DataType.INT32, ir.DataType.INT64)


def _two_operands(node: ir.Node) -> Why | None:
    if len(node.inputs) != 2:
        return Why(f"TFLite takes two operands, not {len(node.inputs)}")
    if node.op_type in ("And", "Or"):
        return None
    if node.op_type == "Pow":
        return needs_float(node) or needs_float(node, 1)
    return _same_types(node)


for _op, (_builtin, _kind) in UNARY.items():
    _register_unary(_op, _builtin, _kind)
for _op, _kind in ARITHMETIC.items():
    _register_arithmetic(_op, _kind)
for _op, (_builtin, _kind) in BINARY.items():
    _register_binary(_op, _builtin, _kind)


def _check_clip(node: ir.Node) -> Why | None:
    return needs_float(node) or needs_constant(node, 1, 2)


@TABLE.op("Relu", "Clip", check=_check_clip)
def clip(call: Call) -> None:
    """min(max(x, lo), hi): a RELU builtin where one fits; a QUANTIZE that saturates in an integer call.

    RELU_0_TO_1 is left out: unlike MAXIMUM and MINIMUM it is not delegated.
    """
    if call.integer:
        _saturate(call)
        return
    lo, hi = bounds(call.node) or (-np.inf, np.inf)
    name = scheme.activation(call.node)
    if name is not None:
        call.emit(name, (call.x(),))
        return
    middle = call.temp("low", call.out_dims()) if np.isfinite(hi) else call.out()
    options = call.writer.options("MaximumMinimum")
    low = call.put("lo", np.asarray([max(lo, np.finfo(np.float32).min)], np.float32))
    call.writer.op("MAXIMUM", (call.x(), low), (middle,), options)
    if np.isfinite(hi):
        call.emit("MINIMUM", (middle, call.put("hi", np.asarray([hi], np.float32))), "MaximumMinimum")


def _saturate(call: Call) -> None:
    """Requantize: what lies outside the output's range saturates. The builtin RELUs are not delegated.

    Where the output's range reaches beyond the bounds, MAXIMUM and MINIMUM cut it.
    """
    cuts = call.cuts(bounds(call.node) or (-np.inf, np.inf))
    target = call.temp("requantized", call.out_dims(), call.out_quant()) if cuts else call.out()
    call.writer.op("QUANTIZE", (call.x(),), (target,), call.writer.options("Quantize"), 2)
    call.cut(target, cuts)


@TABLE.op("LeakyRelu", check=needs_float)
def leaky_relu(call: Call) -> None:
    """x where x >= 0, alpha x elsewhere."""
    alpha = ir.attr_float(call.node, "alpha", 0.01)
    call.emit("LEAKY_RELU", (call.x(),), "LeakyRelu", 2 if call.integer else 1, alpha=alpha)


def _check_elu(node: ir.Node) -> Why | None:
    return needs_float(node) if ir.attr_float(node, "alpha", 1.0) == 1.0 else Why("TFLite's ELU has alpha 1")


@TABLE.op("Elu", check=_check_elu)
def elu(call: Call) -> None:
    """x where x >= 0, exp(x) - 1 elsewhere."""
    call.emit("ELU", (call.x(),))


@TABLE.op("Gelu", check=needs_float)
def gelu(call: Call) -> None:
    """x Phi(x), or its tanh approximation."""
    call.emit("GELU", (call.x(),), "Gelu", approximate=ir.attr_str(call.node, "approximate", "none") == "tanh")


def _check_prelu(node: ir.Node) -> Why | None:
    slope = ir.const(node.inputs[1])
    if slope is not None and slope.ndim == ir.rank(node.outputs[0]) and slope.shape[:1] not in ((), (1,)):
        return Why("its slope differs over the batch")
    return needs_float(node) or needs_constant(node, 1)


@TABLE.op("PRelu", check=_check_prelu)
def prelu(call: Call) -> None:
    """x where x >= 0, slope x elsewhere; the slope has no batch dim."""
    slope = call.array(1)
    size = ir.rank(call.value(0))
    slope = slope.reshape((1,) * (size - slope.ndim) + slope.shape)
    data = slope.transpose(to_last(size)) if call.last else slope
    call.emit("PRELU", (call.x(), call.put("slope", data[0] if size > 1 else data)))


def _check_cast(node: ir.Node) -> Why | None:
    kinds = (ir.DataType.FLOAT, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.UINT8)
    if node.outputs[0].dtype not in kinds:
        return Why(f"no cast to {node.outputs[0].dtype}")
    return needs_dtype(node, *kinds)


@TABLE.op("Cast", check=_check_cast)
def cast(call: Call) -> None:
    """Another element type."""
    call.emit("CAST", (call.x(),), "Cast")


@TABLE.op("Identity")
def identity(call: Call) -> None:
    """The same tensor under another name."""
    call.emitter.reshape(call.x(), call.out(), call.out_dims())


@TABLE.op("Where", check=lambda node: needs_float(node, 1), slow=never())
def where(call: Call) -> None:
    """a where the condition holds, b elsewhere."""
    call.emit("SELECT_V2", tuple(operand(call, i) for i in range(3)), "SelectV2")


@TABLE.op("Reciprocal", check=needs_float)
def reciprocal(call: Call) -> None:
    """1 / x."""
    call.emit("DIV", (call.put("one", np.asarray([1.0], np.float32)), call.x()), "Div")
