"""Outputs that are constants need no node: ONNX takes an initializer as a graph output."""

from __future__ import annotations

from effc.compiler import ir
from effc.compiler.passes.rewrite import maker
from effc.compiler.phase import Step

_SMALL_BYTES = 1024


def constants(model: ir.Model) -> bool:
    """An output that is the Identity of a constant is that constant; a second name of a large one stays a node.

    Runs last, since rules for nodes do not look for outputs without one.
    """
    changed = False
    for slot, output in enumerate(model.graph.outputs):
        node = maker(output, "Identity")
        array = None if node is None else ir.const(node.inputs[0])
        source = None if node is None else node.inputs[0]
        if source is None or array is None or ir.is_splat(array) or not array.size:
            continue
        if len(source.uses()) > 1 and array.nbytes > _SMALL_BYTES:
            continue
        model.graph.outputs[slot] = ir.frozen(model.graph, output, array)
        ir.replace_uses(output, model.graph.outputs[slot])
        changed = True
    return changed and (ir.prune(model) or True)


STEPS = (Step("constant outputs", constants),)
