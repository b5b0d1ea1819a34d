"""f(constants) is a constant, and what shapes determine is one too. Q/DQ is never folded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import onnx
import onnx_ir

from effc.compiler import ir, stored, walk
from effc.compiler.passes import moves, room, shapes
from effc.compiler.passes.rewrite import QUANTIZE_OPS, RANDOM_OPS, constant, each, graph_of, is_standard, nodes, replace
from effc.compiler.phase import Step
from effc.core.errors import EffcError

Evaluator = Callable[[onnx.ModelProto, Sequence[str]], Mapping[str, ir.Array]]
"""Runs a model without inputs and gives the tensors that are named. Raises EffcError when it cannot."""

MAX_GROWTH_BYTES = 1 << 20
"""Without a budget a folded tensor may be larger than the node's inputs by this much."""
MAX_SPLAT_BYTES = 1 << 31
MAX_PASSED_BYTES = 1 << 26
"""What is computed in one go; it lies in memory several times on its way."""
_SHARE = 100
"""A Cast may make a weight larger by the hundredth part of all weights."""
MAX_TEMPORARY_BYTES = 1 << 26
"""A tensor that is computed on the way may be larger than what it is computed of by this much."""

_MOVES = frozenset({"Cast", "Expand", "Flatten", "Identity", "Reshape", "Squeeze", "Tile", "Transpose", "Unsqueeze"})
"""Ops that make a splat of a splat: every element of their result is one of their first input."""


def here(model: onnx.ModelProto, outputs: Sequence[str]) -> Mapping[str, ir.Array]:
    """Evaluate in this process."""
    from effc.compiler import oracle

    return oracle.Session(model, outputs=outputs).run({})


def splats(model: ir.Model) -> bool:
    """ConstantOfShape(constant), and what only moves or casts a splat, are constants that take no memory."""
    changed = False
    for node in list(nodes(model.graph)):
        array = _splat(node) if is_standard(node) and not any(v.is_graph_output() for v in node.outputs) else None
        if array is not None:
            output = node.outputs[0]
            ir.replace_uses(output, ir.frozen(graph_of(node), output, array))
            changed = True
    return changed and (ir.prune(model) or True)


def _splat(node: ir.Node) -> ir.Array | None:
    if node.op_type == "ConstantOfShape":
        wanted, held = ir.const(node.inputs[0]), node.attributes.get("value")
        number = np.zeros(1, np.float32) if held is None else held.as_tensor().numpy()
        return None if wanted is None else _limited(number.ravel()[0], [int(d) for d in wanted])
    if node.op_type not in _MOVES or len(node.outputs) > 1:
        return None
    array, dims, dtype = ir.const(node.inputs[0]), ir.static_shape(node.outputs[0]), ir.numpy_dtype(node.outputs[0])
    if array is None or not ir.is_splat(array) or dims is None or dtype is None:
        return None
    return _limited(array.flat[0].astype(dtype), dims)


def _limited(number: np.generic, dims: Sequence[int]) -> ir.Array | None:
    sound = all(d >= 0 for d in dims) and math.prod(dims) * number.itemsize <= MAX_SPLAT_BYTES
    return ir.splat(number, dims) if sound else None


def constants(model: ir.Model, evaluate: Evaluator, budget: int | None) -> bool:
    """Run every node that depends on constants alone, as many in one go as memory allows, and keep the results."""
    changed, more = False, True
    while more:
        found, more = _foldable(model, budget)
        results = _evaluate(model, found, evaluate)
        held = [v for node in found for v in node.outputs if v.name in results and _is_wanted(v)]
        for value in held:
            _freeze(_graph_of(value), value, results[value.name])
        more = more and bool(held) and (ir.prune(model) or True)
        changed |= bool(held)
    return changed and (ir.prune(model) or True)


def _graph_of(value: ir.Value) -> ir.Graph:
    node = value.producer()
    assert node is not None
    return graph_of(node)


def has_more(model: ir.Model, budget: int) -> bool:
    """Whether anything can be folded within the budget."""
    return bool(_foldable(model, budget)[0])


def _foldable(model: ir.Model, budget: int | None) -> tuple[list[ir.Node], bool]:
    """Nodes in graph order whose inputs are constants or come from such nodes, as far as the bytes allow.

    The second tells whether others are to have their turn after these.
    """
    found: list[ir.Node] = []
    ready: set[ir.Value] = set()
    left, postponed = MAX_PASSED_BYTES, False
    held = None if budget is None else stored_bytes(model)
    for node in nodes(model.graph):
        known = all(v is None or v in ready or ir.const(v) is not None for v in node.inputs)
        if known and _may_fold(node) and _is_moderate(node) and not (held and _is_compact(node, held)):
            if (passed := _passed(node)) > left:
                postponed |= passed <= MAX_PASSED_BYTES
                continue
            left -= passed
            found.append(node)
            ready.update(node.outputs)
    wanted = MAX_GROWTH_BYTES if budget is None or held is None else budget - held
    return (room.fitting(found, wanted) if found else []), postponed


def _is_compact(node: ir.Node, held: int) -> bool:
    """Whether a Cast is all that tells a narrow weight from one that would make all weights much larger.

    Such stay narrow whatever room there is in the file: that others went is no reason to store these twice as wide.
    """
    if node.op_type != "Cast" or ir.const(node.inputs[0]) is None:
        return False
    narrow, wide = (room.bytes_of(v) or 0 for v in (*node.inputs, *node.outputs) if v is not None)
    return (wide - narrow) * _SHARE > held


def _passed(node: ir.Node) -> int:
    """Bytes that go to and fro when the node is run: weights that lie in files stay there."""
    given = (v.const_value for v in node.inputs if v is not None)
    loose = sum(t.nbytes for t in given if t is not None and not isinstance(t, stored.Mapped))
    return loose + sum(room.bytes_of(v) or 0 for v in node.outputs)


def _is_moderate(node: ir.Node) -> bool:
    """Whether the sizes of the results are known, and no burden while they are computed."""
    made = [room.bytes_of(v) for v in node.outputs if v.name]
    given = sum(room.bytes_of(v) or 0 for v in node.inputs if v is not None)
    return all(size is not None and size <= given + MAX_TEMPORARY_BYTES for size in made)


def _may_fold(node: ir.Node) -> bool:
    if not is_standard(node) or node.op_type in QUANTIZE_OPS | RANDOM_OPS or not node.inputs:
        return False
    if any(a.type in (onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS) for a in node.attributes.values()):
        return False
    if not all(isinstance(v.type, onnx_ir.TensorType) for v in node.outputs if v.name):
        return False
    if any(v.is_graph_output() for v in node.outputs) and (len(node.outputs) > 1 or node.op_type == "Identity"):
        return False
    return not any(_is_large_splat(v) for v in (*node.outputs, *node.inputs) if v is not None)


def _is_large_splat(value: ir.Value) -> bool:
    held = value.const_value
    return held is not None and held.nbytes > MAX_GROWTH_BYTES and ir.is_splat(held.numpy())


def stored_bytes(model: ir.Model) -> int:
    """Bytes that initializers and Constants take in a file that holds splats as nodes."""
    return sum(t.nbytes for t in _held(model.graph) if not _is_held_splat(t))


def _held(graph: ir.Graph) -> Iterator[onnx_ir.TensorProtocol]:
    """Constants of the graph and of its branches and loop bodies."""
    yield from (v.const_value for v in graph.initializers.values() if v.const_value is not None)
    for node in graph:
        if node.op_type == "Constant" and "value" in node.attributes:
            yield node.attributes["value"].as_tensor()
        for inner in walk.within(node):
            yield from _held(inner)


def _is_held_splat(tensor: onnx_ir.TensorProtocol) -> bool:
    return isinstance(tensor, onnx_ir.Tensor) and ir.is_splat(tensor.numpy())


def _evaluate(model: ir.Model, nodes: list[ir.Node], evaluate: Evaluator) -> dict[str | None, ir.Array]:
    """Values of the nodes' outputs that others read; nodes that cannot be run are left out."""
    if not nodes:
        return {}
    try:
        return _run(model, nodes, evaluate)
    except EffcError:
        results: dict[str | None, ir.Array] = {}
        for node in nodes:
            if all(v is None or ir.const(v) is not None for v in node.inputs):
                results |= _run_alone(model, node, evaluate)
        return results


def _run_alone(model: ir.Model, node: ir.Node, evaluate: Evaluator) -> dict[str | None, ir.Array]:
    try:
        return _run(model, [node], evaluate)
    except EffcError:
        return {}


def _run(model: ir.Model, nodes: list[ir.Node], evaluate: Evaluator) -> dict[str | None, ir.Array]:
    from onnx_ir import serde

    wanted = [v for node in nodes for v in node.outputs if v.name and _is_wanted(v) and not _only_within(v, set(nodes))]
    graph = onnx.GraphProto(name="constants", node=[serde.serialize_node(n) for n in nodes])
    inner = {v for node in nodes for v in node.outputs}
    outer = dict.fromkeys(v for node in nodes for v in node.inputs if v is not None and v not in inner)
    graph.initializer.extend(stored.referring(_tensor(v)) for v in outer)
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    proto = onnx.ModelProto(ir_version=model.ir_version, opset_import=imports, graph=graph)
    results = evaluate(proto, [v.name or "" for v in wanted])
    return {name: np.asarray(array) for name, array in results.items()}


def _tensor(value: ir.Value) -> onnx_ir.TensorProtocol:
    if isinstance(value.const_value, stored.Mapped) and value.const_value.name == value.name:
        return value.const_value
    array = ir.const(value)
    assert array is not None
    return onnx_ir.tensor(array, name=value.name)


def _only_within(value: ir.Value, nodes: Iterable[ir.Node]) -> bool:
    """Whether only nodes that are themselves folded read the value."""
    return not value.is_graph_output() and all(use.node in nodes for use in value.uses())


def _is_wanted(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def _freeze(graph: ir.Graph, value: ir.Value, array: ir.Array) -> None:
    """Let an initializer of the same name hold what the node computed; a graph output is its Identity."""
    typed = array.astype(value.dtype.numpy(), copy=False) if value.dtype is not None else array
    if value.is_graph_output():
        node = value.producer()
        assert node is not None
        replace(node, "Identity", [constant(node, "value", typed)])
        return
    ir.replace_uses(value, ir.frozen(graph, value, typed))


def steps(evaluate: Evaluator = here, budget: int | None = None) -> tuple[Step, ...]:
    """The steps.

    Args:
        evaluate: where nodes are run.
        budget: bytes that the model's weights may take after folding; None allows each node some growth.
    """
    return (
        Step("splats", splats),
        Step("large moves", each(moves.large, "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")),
        Step("constant folding", partial(constants, evaluate=evaluate, budget=budget)),
        Step("shape arithmetic", each(shapes.fold)),
        Step("shapes of reshapes", each(shapes.fold_reshape, "Reshape")),
        Step("shapes of expansions", each(shapes.fold_expand, "Expand")),
    )
