"""The output's scale folded into the factors before it: one multiplication less for each output.

Q(Clip(a * x + b, lo, hi), s) = Q(Clip(a/s * x + b/s, lo/s, hi/s), 1)      likewise Relu
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from effc.backends.tvm.plan.affine import Q, of_node
from effc.backends.tvm.schedules.finish import Finish
from effc.compiler import ir
from effc.compiler.ir import Array
from effc.compiler.passes.rewrite import graph_of


def folded(finish: Finish, factors: tuple[Array, Array]) -> tuple[Finish, tuple[Array, Array]]:
    """The tail with a last scale of 1, and scale and bias that make up for it; as they are where it cannot be."""
    last = of_node(finish.nodes[-1]) if finish.nodes and finish.nodes[-1].op_type == Q else None
    if last is None or finish.source is None or not all(_is_clamp(node) for node in finish.nodes[:-1]):
        return finish, factors
    graph = graph_of(finish.nodes[-1])
    step, value = float(last.scale.item()), finish.source
    nodes: list[ir.Node] = []

    def constant(array: Array) -> ir.Value:
        return ir.initializer(graph, "folded", np.asarray(array, np.float32))

    for node in finish.nodes[:-1]:
        limits = [None if v is None else constant(np.asarray(ir.const(v), np.float32) / step) for v in node.inputs[1:]]
        nodes.append(ir.node(node.op_type, [value, *limits]))
        value = nodes[-1].outputs[0]
    quantize = ir.node(Q, [value, constant(np.ones(())), *finish.nodes[-1].inputs[2:]])
    quantize.outputs[0].type = last.stored.type
    scale, bias = (np.asarray(factor, np.float32) / np.float32(step) for factor in factors)
    return replace(finish, nodes=(*nodes, quantize)), (scale, bias)


def _is_clamp(node: ir.Node) -> bool:
    """Whether the node is Relu, or Clip with constant limits."""
    limits = [ir.const(v) for v in node.inputs[1:] if v is not None]
    return node.op_type == "Relu" or (node.op_type == "Clip" and all(c is not None and c.size == 1 for c in limits))
