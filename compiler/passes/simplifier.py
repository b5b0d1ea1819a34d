"""onnx-simplifier, in a child process, where ops remain that its symbolic evaluation may remove."""

from __future__ import annotations

from effc.compiler import ir
from effc.compiler.passes.rewrite import QUANTIZE_OPS
from effc.compiler.phase import Step
from effc.core import worker
from effc.core.errors import BackendFailed, EffcError

DEADLINE_S = 60.0
MAX_WEIGHT_BYTES = 256 << 20
MAX_GROWTH_BYTES = 1 << 20
_SERVED = frozenset({"Shape", "Size", "If", "Loop", "NonZero", "Range", "ConstantOfShape", "SequenceConstruct"})


def simplify_bytes(data: bytes) -> bytes | None:
    """Run onnxsim on a serialized model; None when its own check fails. Runs in the child."""
    import onnx
    import onnxsim

    model, sound = onnxsim.simplify(onnx.load_from_string(data))
    return model.SerializeToString() if sound else None


def simplify(model: ir.Model) -> bool:
    """Take onnxsim's result where it has fewer nodes, the same inputs and outputs, and passes the checker.

    Quantized models are left alone: it would fold their Q/DQ.
    """
    ops = {node.op_type for node in model.graph}
    if not ops & _SERVED or ops & QUANTIZE_OPS or ir.weight_bytes(model) > MAX_WEIGHT_BYTES:
        return False
    candidate = _candidate(model)
    if candidate is None or len(candidate.graph) >= len(model.graph) or _interface(candidate) != _interface(model):
        return False
    if ir.weight_bytes(candidate) > ir.weight_bytes(model) + MAX_GROWTH_BYTES:
        return False
    _rename_changed(model.graph, candidate.graph)
    model.graph = candidate.graph
    return True


def _candidate(model: ir.Model) -> ir.Model | None:
    from effc.compiler.settle import settle

    try:
        function = "effc.compiler.passes.simplifier:simplify_bytes"
        data = worker.call(function, ir.to_bytes(model), stage="onnxsim", deadline=DEADLINE_S)
        if data is None:
            return None
        candidate = ir.from_bytes(data)
        settle(candidate, where="onnxsim")
    except (BackendFailed, EffcError):
        return None
    return candidate


def _interface(model: ir.Model) -> list[tuple[object, ...]]:
    return [(v.name, v.dtype, ir.shape(v)) for v in model.graph.inputs] + [
        (v.name, v.dtype) for v in model.graph.outputs
    ]


def _rename_changed(old: ir.Graph, new: ir.Graph) -> None:
    """Give a new name to each tensor that is not computed as the tensor of that name was."""
    made = {value.name: node for node in old for value in node.outputs}
    same = {v.name for v in new.inputs}
    same |= {n for n, v in new.initializers.items() if n in old.initializers and _equal(v, old.initializers[n])}
    for node in new:
        for value in node.outputs:
            before = made.get(value.name)
            if before is not None and _signature(before) == _signature(node) and same.issuperset(_names(node)):
                same.add(value.name)
            elif before is not None and not value.is_graph_output():
                value.name = ir.fresh_name(new, f"{value.name}_simplified")


def _names(node: ir.Node) -> set[str | None]:
    return {v.name for v in node.inputs if v is not None}


def _signature(node: ir.Node) -> tuple[object, ...]:
    names = tuple(None if v is None else v.name for v in node.inputs)
    return node.op_type, names, sorted(str(a) for a in node.attributes.values())


def _equal(a: ir.Value, b: ir.Value) -> bool:
    if a.const_value is None or b.const_value is None or a.dtype != b.dtype:
        return False
    return ir.shape(a) == ir.shape(b) and a.const_value.tobytes() == b.const_value.tobytes()


STEPS = (Step("onnx-simplifier", simplify),)
