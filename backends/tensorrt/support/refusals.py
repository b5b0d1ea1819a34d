"""What the ONNX parser of TensorRT takes, as our own table: it needs no TensorRT."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from effc.backends.tensorrt.support import rules_layers  # noqa: F401  (fills the table)
from effc.backends.tensorrt.support.rules import TABLE
from effc.compiler import ir
from effc.compiler.lowering import Why
from effc.core.errors import Refusal
from effc.core.target import Target

MAX_RANK = 8
_KNOWN = frozenset(
    {
        *(ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE),
        *(ir.DataType.INT8, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.UINT8, ir.DataType.BOOL),
        *(ir.DataType.INT4, ir.DataType.FLOAT8E4M3FN),
    }
)
_BYTES = frozenset({"Cast", "CastLike", "Identity", "Equal", "Shape", "Size"})
"""Ops that read uint8."""


_SHAPES = {
    **dict.fromkeys(("Expand", "OneHot", "Pad", "Reshape", "Split", "Tile", "TopK", "CumSum"), (1,)),
    **dict.fromkeys(("BlackmanWindow", "ConstantOfShape", "HammingWindow", "HannWindow"), (0,)),
    **{"Range": (0, 1, 2), "Resize": (3,), "Slice": (1, 2, 3, 4), "Loop": (0,)},
}
"""Positions of the inputs whose values make dims of the outputs."""


def refusals(model: ir.Model, target: Target) -> tuple[Refusal, ...]:
    """Every node that TensorRT does not take, in graph order.

    Checked against the parser and the builder of TensorRT-RTX 1.7 over ONNX's node tests; where TensorRT's plugins
    make a difference to it, `trt` takes more.
    """
    graph = model.graph
    found = (_refusal(node, target) for node in nodes(graph))
    return (*_interface(graph), *_deciding(graph), *(refusal for refusal in found if refusal is not None))


def nodes(graph: Iterable[ir.Node]) -> Iterator[ir.Node]:
    """The graph's nodes and those of its branches and loop bodies, outer ones first."""
    for node in graph:
        yield node
        for attribute in node.attributes.values():
            if attribute.type.name == "GRAPH":
                yield from nodes(attribute.as_graph())


def _refusal(node: ir.Node, target: Target) -> Refusal | None:
    why = _domain(node) or _unknown_op(node) or _tensors(node) or TABLE[node.op_type].function(node, target.backend)
    if why is None:
        return None
    return Refusal(node.name or node.outputs[0].name or "?", node.op_type, why.reason, why.hint)


def _domain(node: ir.Node) -> Why | None:
    if node.domain in ("", "ai.onnx"):
        return None
    return Why(f"the operator domain {node.domain!r} is not known", "TensorRT would need a plugin for it")


def _unknown_op(node: ir.Node) -> Why | None:
    if node.op_type in TABLE:
        return None
    return TABLE.reasons.get(node.op_type) or Why("TensorRT's ONNX parser has no such operator")


def _tensors(node: ir.Node) -> Why | None:
    """Element types and ranks that hold for every op."""
    for value in (*node.inputs, *node.outputs):
        if value is not None and value.dtype is not None and value.dtype not in _KNOWN:
            return Why(f"{value.name!r} is {_named(value.dtype)}, which TensorRT lacks", "cast it to int32 or float")
        if ir.rank(value) > MAX_RANK:
            return Why(f"{value and value.name!r} has {ir.rank(value)} dims, TensorRT has {MAX_RANK} at most")
    return None if node.op_type in ("QuantizeLinear", "DequantizeLinear") else _bytes(node)


def _bytes(node: ir.Node) -> Why | None:
    """uint8 is for inputs and outputs; int8 constants are weights that DequantizeLinear reads."""
    for value in node.inputs:
        if value is None or value.dtype not in (ir.DataType.UINT8, ir.DataType.INT8):
            continue
        constant = ir.const(value) is not None
        if value.dtype == ir.DataType.UINT8 and (constant or node.op_type not in _BYTES):
            return Why(f"it reads {value.name!r} in uint8", "cast it first: uint8 is for inputs and outputs alone")
        if value.dtype == ir.DataType.INT8 and constant:
            return Why(f"it reads the int8 constant {value.name!r}", "quantized constants need a DequantizeLinear")
    return None


def _interface(graph: ir.Graph) -> Iterator[Refusal]:
    """float64 inputs and outputs: the engine would have them in float32, under the same names."""
    for kind, values in (("input", graph.inputs), ("output", graph.outputs)):
        for value in values:
            if value.dtype == ir.DataType.DOUBLE:
                hint = "export the model in float32"
                yield Refusal(value.name or "?", kind, "it is float64, which engines compute in float32", hint)


def _deciding(graph: ir.Graph) -> Iterator[Refusal]:
    """Inputs whose values are dims: an engine would need a range for each value."""
    found: set[ir.Value] = set()
    pending = [value for node in nodes(graph) for value in _operands(node)]
    while pending:
        value = pending.pop()
        maker = value.producer()
        if value in found or (maker is not None and maker.op_type in ("Shape", "Size")):
            continue
        found.add(value)
        pending += [source for source in (maker.inputs if maker is not None else ()) if source is not None]
    reason = "its values decide the shapes of other tensors, so an engine cannot be planned for it"
    for value in graph.inputs:
        if value in found:
            yield Refusal(value.name or "?", "input", reason, "make it a constant of the model")


def _operands(node: ir.Node) -> Iterator[ir.Value]:
    """Inputs of a node whose values make dims."""
    if node.op_type == "Loop" and len(node.outputs) <= len(node.inputs) - 2:
        return
    for position in _SHAPES.get(node.op_type, ()):
        value = node.inputs[position] if len(node.inputs) > position else None
        if value is not None:
            yield value


def _named(dtype: ir.DataType) -> str:
    return dtype.name.lower()
