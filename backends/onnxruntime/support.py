"""What ONNX Runtime takes: the operators that it has registered kernels or schemas for."""

from __future__ import annotations

from effc.compiler import ir
from effc.compiler.lowering import FOREIGN
from effc.core.errors import Refusal

_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})


def refusals(model: ir.Model) -> tuple[Refusal, ...]:
    """Every node of a domain that the runtime does not know, in graph order."""
    return tuple(
        Refusal(node.name or "?", node.op_type, f"the operator domain {node.domain!r} is not known", FOREIGN)
        for node in model.graph
        if node.domain not in _DOMAINS
    )
