"""Which nodes XNNPACK does not take over, so that LiteRT's own kernels run them: on one thread, and mostly slowly.

The table of lowerings tells it of forms, this file of types; tested against LiteRT 2.3's list of delegated operators.
"""

from __future__ import annotations

from collections.abc import Iterator

from effc.backends.tflite import ops  # noqa: F401  (fills the table)
from effc.backends.tflite.ops.table import TABLE, undelegated
from effc.compiler import ir
from effc.compiler.lowering import named
from effc.core.errors import Caution

_QUANTIZATION = ("QuantizeLinear", "DequantizeLinear")


def cautions(graph: ir.Graph) -> Iterator[Caution]:
    """Every node of a legalized graph with an operator that stays outside XNNPACK."""
    for node in graph:
        found = None if node.op_type in _QUANTIZATION else TABLE.caution(node) or _of_type(node)
        if found is not None:
            yield found


def _of_type(node: ir.Node) -> Caution | None:
    """XNNPACK computes floats, and integers that stand for floats."""
    types = (value.dtype for value in (*node.inputs[:1], *node.outputs) if value is not None)
    other = next((dtype for dtype in types if dtype not in (ir.DataType.FLOAT, None)), None)
    if other is None or node.op_type not in TABLE:
        return None
    why = undelegated(other.name.lower())
    return Caution(named(node), node.op_type, why.reason, why.hint)
