"""f(constants) is a constant, and what shapes determine is one too. Q/DQ is never folded."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir

from effc.compiler import ir
from effc.compiler.passes import shapes
from effc.compiler.passes.rewrite import QUANTIZE_OPS, each, is_standard
from effc.compiler.phase import Step
from effc.core.errors import EffcError

MAX_GROWTH_BYTES = 1 << 20
"""A folded tensor may be larger than the node's inputs by this much: Expand and ConstantOfShape stay small code."""

_RANDOM_OPS = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout"}
)


def constants(model: ir.Model) -> bool:
    """Run every node that depends on constants alone, all in one session of the oracle, and keep the results."""
    found = _foldable(model.graph)
    results = _evaluate(model, found)
    changed = False
    for node in found:
        for value in node.outputs:
            if value.name in results and value.uses():
                _freeze(model.graph, value, results[value.name])
                changed = True
    return changed and (ir.prune(model) or True)


def _foldable(graph: ir.Graph) -> list[ir.Node]:
    """Nodes in graph order whose inputs are constants or come from such nodes."""
    found: list[ir.Node] = []
    ready: set[ir.Value] = set()
    for node in graph:
        if _may_fold(node) and all(v is None or v in ready or ir.const(v) is not None for v in node.inputs):
            found.append(node)
            ready.update(node.outputs)
    return found


def _may_fold(node: ir.Node) -> bool:
    if not is_standard(node) or node.op_type in QUANTIZE_OPS | _RANDOM_OPS or not node.inputs:
        return False
    if any(a.type in (onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS) for a in node.attributes.values()):
        return False
    if any(v.is_graph_output() for v in node.outputs):
        return False
    sizes = [_bytes(v) for v in node.outputs if v.name]
    given = sum(_bytes(v) or 0 for v in node.inputs if v is not None)
    return all(size is not None and size <= given + MAX_GROWTH_BYTES for size in sizes)


def _bytes(value: ir.Value) -> int | None:
    dims = ir.static_shape(value)
    if dims is None or value.dtype is None:
        return None
    return int(np.prod(dims, dtype=np.float64)) * max(
        1, value.dtype.bitwidth // 8 if value.dtype != ir.DataType.STRING else 8
    )


def _evaluate(model: ir.Model, nodes: list[ir.Node]) -> dict[str | None, ir.Array]:
    """Values of the nodes' outputs that others read; nodes that cannot be run are left out."""
    if not nodes:
        return {}
    try:
        return _run(model, nodes)
    except EffcError:
        results: dict[str | None, ir.Array] = {}
        for node in nodes:
            if all(v is None or ir.const(v) is not None for v in node.inputs):
                results |= _run_alone(model, node)
        return results


def _run_alone(model: ir.Model, node: ir.Node) -> dict[str | None, ir.Array]:
    try:
        return _run(model, [node])
    except EffcError:
        return {}


def _run(model: ir.Model, nodes: list[ir.Node]) -> dict[str | None, ir.Array]:
    import onnx
    from onnx_ir import serde

    from effc.compiler import oracle

    wanted = [v for node in nodes for v in node.outputs if v.name and v.uses() and not _only_within(v, nodes)]
    graph = onnx.GraphProto(name="constants", node=[serde.serialize_node(n) for n in nodes])
    inner = {v for node in nodes for v in node.outputs}
    outer = dict.fromkeys(v for node in nodes for v in node.inputs if v is not None and v not in inner)
    graph.initializer.extend(serde.serialize_tensor(_tensor(v)) for v in outer)
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    proto = onnx.ModelProto(ir_version=model.ir_version, opset_import=imports, graph=graph)
    results = oracle.Session(proto, outputs=[v.name or "" for v in wanted]).run({})
    return {name: np.asarray(array) for name, array in results.items()}


def _tensor(value: ir.Value) -> onnx_ir.TensorProtocol:
    array = ir.const(value)
    assert array is not None
    return onnx_ir.tensor(array, name=value.name)


def _only_within(value: ir.Value, nodes: Iterable[ir.Node]) -> bool:
    """Whether only nodes that are themselves folded read the value."""
    return all(use.node in set(nodes) for use in value.uses())


def _freeze(graph: ir.Graph, value: ir.Value, array: ir.Array) -> None:
    """Let an initializer of the same name hold what the node computed."""
    name = value.name or ""
    value.name = f"{name}__replaced"
    new = ir.initializer(graph, name, array.astype(value.dtype.numpy()) if value.dtype is not None else array)
    ir.replace_uses(value, new)


STEPS = (
    Step("constant folding", constants),
    Step("shape arithmetic", each(shapes.fold)),
    Step("shapes of reshapes", each(shapes.fold_reshape, "Reshape")),
    Step("shapes of expansions", each(shapes.fold_expand, "Expand")),
)
