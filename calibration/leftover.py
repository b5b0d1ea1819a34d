"""What a target would leave in float32, and why, told without any data.

To the scheme every tensor counts as one with a range; to the rules for narrow floats none has a range but those that
are stated, as in a build without calibration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from effc.calibration.collect import kept_float, stated_ranges
from effc.calibration.plan import OTHER_FLOATS, has_weight, is_plain, make_plan
from effc.calibration.scheme import Scheme
from effc.calibration.settled import DQ, Q
from effc.compiler import ir
from effc.compiler.extents import MOVES
from effc.compiler.hazards import POINTWISE
from effc.compiler.passes.precision import Narrowing, decide
from effc.compiler.ranges import Range
from effc.core.errors import Caution

_ANY = Range(-1.0, 1.0)
_UNKNOWN, _CALIBRATE = "not known", "with --calib, ranges are measured"


@dataclass(frozen=True)
class Leftover:
    """What stays in float32.

    Attributes:
        quantized: how many nodes run quantized.
        cautions: the nodes that stay in float32 for want of a kernel or of precision, in graph order. Those that a
            kernel could take in and that gain nothing by it are not among them.
    """

    quantized: int
    cautions: tuple[Caution, ...]


def leftover(model: ir.Model, scheme: Scheme | None, narrowing: Narrowing | None) -> Leftover:
    """Look at a legalized model as a target with this scheme and this narrowing would."""
    taken = frozenset() if scheme is None else _quantized(model, scheme)
    left = () if scheme is None else tuple(_left(model, scheme, taken))
    if narrowing is None:
        return Leftover(len(taken), left)
    names, kept = {caution.node for caution in left}, decide(model, narrowing, stated_ranges(model)).kept
    wide = (
        _kept(node, kept[node.name or ""])
        for node in model.graph
        if (node.name or "") in kept and (scheme is None or node.name in names)
    )
    return Leftover(len(taken), tuple(wide))


def _kept(node: ir.Node, reason: str) -> Caution:
    hint = _CALIBRATE if _UNKNOWN in reason else ""
    return Caution(node.name or "?", node.op_type, f"it stays float32: {reason}", hint)


def _quantized(model: ir.Model, scheme: Scheme) -> frozenset[ir.Node]:
    """The nodes that would run quantized, had every tensor been calibrated."""
    floats = kept_float(model)
    ranges = {value.name: _ANY for value in ir.values(model.graph) if value.name and value.name not in floats}
    return frozenset(make_plan(model, ranges, scheme).nodes)


def _left(model: ir.Model, scheme: Scheme, quantized: frozenset[ir.Node]) -> Iterator[Caution]:
    for node in model.graph:
        floats = any(value.dtype is not None and value.dtype.is_floating_point() for value in node.outputs)
        reason = _why(node, scheme) if floats and node not in quantized and node.op_type not in (Q, DQ) else None
        if reason is not None:
            yield Caution(node.name or "?", node.op_type, reason)


def _why(node: ir.Node, scheme: Scheme) -> str | None:
    """The reason; None where the node is left for its neighbours' sake, or goes with kernels that put out floats."""
    bits, rule = scheme.precision, scheme.ops.get(node.op_type)
    if (other := next((v.dtype for v in node.outputs if v.dtype in OTHER_FLOATS), None)) is not None:
        return f"it stays {other.name.lower()}: float32 alone is quantized"
    if scheme.float_outputs and node.op_type in POINTWISE | MOVES:
        return None
    if rule is None or node.domain not in ("", "ai.onnx"):
        return f"it stays float32: the target has no {bits} kernel for this op"
    if rule.weight is not None and not has_weight(node, rule):
        return f"it stays float32: its weight is computed, and {bits} kernels take constant ones"
    if not scheme.accepts(node) or (node.op_type == "Gemm" and not is_plain(node)):
        return f"it stays float32: the target has no {bits} kernel for this form of the op"
    return None
