"""Reductions, softmax and index of the largest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from effc.backends.tflite.emitter import Call
from effc.backends.tflite.ops.table import TABLE, needs_constant, needs_float, never
from effc.compiler import ir
from effc.compiler.lowering import Why

REDUCTIONS = {
    "ReduceMax": "REDUCE_MAX",
    "ReduceMean": "MEAN",
    "ReduceMin": "REDUCE_MIN",
    "ReduceProd": "REDUCE_PROD",
    "ReduceSum": "SUM",
}


def _check(node: ir.Node) -> Why | None:
    return needs_float(node) or needs_constant(node, 1)


def _register(op: str, builtin: str) -> None:
    @TABLE.op(op, check=_check, slow=never() if op == "ReduceProd" else None)
    def reduction(call: Call) -> None:
        axes = call.ints(1) if call.given(1) else ()
        if not axes and not ir.attr_int(call.node, "noop_with_empty_axes", 0):
            axes = tuple(range(ir.rank(call.value(0))))
        mapped = call.emitter.int_vector("axes", sorted(call.axis(a) for a in axes))
        keep = bool(ir.attr_int(call.node, "keepdims", 1))
        call.emit(builtin, (call.x(), mapped), "Reducer", 2 if call.integer else 1, keepDims=keep)


for _op, _builtin in REDUCTIONS.items():
    _register(_op, _builtin)


def _over_last_axis(call: Call, axis: int, emit: Callable[[int, int], None]) -> None:
    """Apply an operator that works on the last axis to any axis, between two TRANSPOSEs where needed."""
    size = ir.rank(call.value(0))
    axis = call.axis(axis)
    if axis == size - 1:
        emit(call.x(), call.out())
        return
    perm = list(range(size))
    perm[axis], perm[-1] = perm[-1], perm[axis]
    dims = [call.dims()[i] for i in perm]
    before, after = call.temp("in", dims), call.temp("out", dims)
    call.emitter.transpose(call.x(), before, perm)
    emit(before, after)
    call.emitter.transpose(after, call.out(), perm)


@TABLE.op("Softmax", check=needs_float)
def softmax(call: Call) -> None:
    """exp(x) / sum(exp(x)) along one axis."""
    options = call.writer.options("Softmax", beta=1.0)
    axis = ir.attr_int(call.node, "axis", -1)
    _over_last_axis(call, axis, lambda a, b: call.writer.op("SOFTMAX", (a,), (b,), options))


@TABLE.op("LogSoftmax", check=needs_float, slow=never("Softmax and Log are delegated"))
def log_softmax(call: Call) -> None:
    """log(softmax(x)) along one axis."""
    options = call.writer.options("LogSoftmax")
    axis = ir.attr_int(call.node, "axis", -1)
    _over_last_axis(call, axis, lambda a, b: call.writer.op("LOG_SOFTMAX", (a,), (b,), options))


def _check_arg(node: ir.Node) -> Why | None:
    if ir.attr_int(node, "select_last_index", 0):
        return Why("the last of equal entries is not what TFLite gives")
    return needs_float(node)


def _register_arg(op: str, builtin: str, kind: str) -> None:
    @TABLE.op(op, check=_check_arg, slow=never())
    def arg(call: Call) -> None:
        axis = call.put("axis", np.asarray([call.axis(ir.attr_int(call.node, "axis", 0))], np.int32))
        out_type = call.writer.enum("TensorType", "INT64")
        fields = {"outputType": out_type}
        if not ir.attr_int(call.node, "keepdims", 1):
            call.emit(builtin, (call.x(), axis), kind, **fields)
            return
        flat = [d for i, d in enumerate(call.dims()) if i != call.axis(ir.attr_int(call.node, "axis", 0))]
        found = call.temp("index", flat, dtype="int64")
        call.writer.op(builtin, (call.x(), axis), (found,), call.writer.options(kind, **fields))
        call.emitter.reshape(found, call.out(), call.out_dims())


_register_arg("ArgMax", "ARG_MAX", "ArgMax")
_register_arg("ArgMin", "ARG_MIN", "ArgMin")
