"""The table that the op files fill, and checks that several of them share."""

from __future__ import annotations

from collections.abc import Callable

from effc.backends.tflite.emitter import Call
from effc.backends.tflite.plan import constant
from effc.compiler import ir
from effc.compiler.lowering import OpTable

TABLE: OpTable[Callable[[Call], None]] = OpTable("tflite")
TABLE.refuse("TFLite has no such builtin", "Einsum", "GridSample", "RoiAlign", "GatherElements", "DFT", "GRU")
TABLE.refuse("TFLite has no Erf builtin; export GELU as the Gelu op", "Erf")
TABLE.refuse("control flow is not lowered", "If", "Loop", "Scan")


def needs_static(node: ir.Node, position: int = 0, first: int = 1) -> str | None:
    """All dims of an input from axis `first` on must be numbers."""
    dims = ir.shape(node.inputs[position])
    if dims is None:
        return "the rank of its input is not known"
    if any(not isinstance(d, int) for d in dims[first:]):
        return f"its input has symbolic dims {dims}; fix them with --shape"
    return None


def needs_constant(node: ir.Node, *positions: int) -> str | None:
    """These inputs, where given, must be constant."""
    for position in positions:
        value = node.inputs[position] if len(node.inputs) > position else None
        if value is not None and constant(value) is None:
            return f"input {position} ({value.name!r}) must be constant"
    return None


def needs_rank(node: ir.Node, *ranks: int) -> str | None:
    """The first input must have one of these ranks."""
    value = node.inputs[0]
    if value is None or ir.rank(value) not in ranks:
        return f"its input has rank {'?' if value is None else ir.rank(value)}, not {' or '.join(map(str, ranks))}"
    return None


def needs_dtype(node: ir.Node, *kinds: ir.DataType, position: int = 0) -> str | None:
    """An input must have one of these element types."""
    value = node.inputs[position]
    return None if value is not None and value.dtype in kinds else f"no kernel for {value and value.dtype}"


def needs_float(node: ir.Node, position: int = 0) -> str | None:
    """An input must be float32."""
    return needs_dtype(node, ir.DataType.FLOAT, position=position)
