"""The table that the op files fill, and checks that several of them share."""

from __future__ import annotations

from collections.abc import Callable

from effc.backends.tflite.emitter import Call
from effc.backends.tflite.plan import constant
from effc.compiler import ir
from effc.compiler.lowering import Check, OpTable, Why

FIX = "fix the model's symbolic dims with --shape"
"""What to do where a dim has to be a number."""
TABLE: OpTable[Callable[[Call], None]] = OpTable("tflite")
TABLE.refuse("TFLite has no such builtin", "Einsum", "GridSample", "RoiAlign", "GatherElements", "DFT", "GRU")
TABLE.refuse("TFLite has no Erf builtin", "Erf", hint="export GELU as the Gelu op (opset 20), which TFLite has")
TABLE.refuse("control flow is not lowered", "If", "Loop", "Scan", hint="export the model without it, or unrolled")
TABLE.refuse("TFLite's shapes are numbers", "Shape", "Size", hint=FIX)


def undelegated(what: str = "it", hint: str = "") -> Why:
    """XNNPACK leaves the operator to LiteRT's own kernels, which are slow."""
    return Why(f"XNNPACK does not take {what}: LiteRT's own kernel runs", hint)


def never(hint: str = "") -> Check:
    """XNNPACK takes no form of the operator."""
    return lambda node: undelegated(hint=hint)


def needs_static(node: ir.Node, position: int = 0, first: int = 1) -> Why | None:
    """All dims of an input from axis `first` on must be numbers."""
    dims = ir.shape(node.inputs[position])
    if dims is None:
        return Why("the rank of its input is not known", FIX)
    if any(not isinstance(d, int) for d in dims[first:]):
        return Why(f"its input has symbolic dims {dims}", FIX)
    return None


def needs_constant(node: ir.Node, *positions: int) -> Why | None:
    """These inputs, where given, must be constant."""
    for position in positions:
        value = node.inputs[position] if len(node.inputs) > position else None
        if value is not None and constant(value) is None:
            return Why(f"input {position} ({value.name!r}) must be constant", "export it as a constant")
    return None


def needs_rank(node: ir.Node, *ranks: int) -> Why | None:
    """The first input must have one of these ranks."""
    value = node.inputs[0]
    if value is None or ir.rank(value) not in ranks:
        found = "?" if value is None else ir.rank(value)
        return Why(f"its input has rank {found}, not {' or '.join(map(str, ranks))}", "reshape it before the op")
    return None


def needs_dtype(node: ir.Node, *kinds: ir.DataType, position: int = 0) -> Why | None:
    """An input must have one of these element types."""
    value = node.inputs[position]
    if value is not None and value.dtype in kinds:
        return None
    return Why(f"no kernel for {value and value.dtype}", "cast it to float32 before the op")


def needs_float(node: ir.Node, position: int = 0) -> Why | None:
    """An input must be float32."""
    return needs_dtype(node, ir.DataType.FLOAT, position=position)
