"""Float rewrites for ONNX Runtime's integer kernels."""

from __future__ import annotations

import numpy as np

from effc.compiler import ir
from effc.compiler.decompose.activations import hard_sigmoid, hard_swish
from effc.compiler.decompose.linear import constant_affine, scale_into_consumers
from effc.compiler.decompose.scores import scores
from effc.compiler.passes.rewrite import each
from effc.compiler.phase import Phase, Step


def pool_means(model: ir.Model) -> bool:
    """`ReduceMean(x, axes=[2, 3])` is `GlobalAveragePool(x)`, squeezed where axes are dropped."""
    means = [node for node in model.graph if _is_spatial_mean(node)]
    for mean in means:
        _pool(model.graph, mean)
    return bool(means)


def _is_spatial_mean(node: ir.Node) -> bool:
    if node.op_type != "ReduceMean" or len(node.inputs) < 2:
        return False
    axes, dims = ir.const(node.inputs[1]), ir.shape(node.inputs[0])
    return axes is not None and dims is not None and len(dims) == 4 and sorted(int(a) % 4 for a in axes) == [2, 3]


def _pool(graph: ir.Graph, mean: ir.Node) -> None:
    pooled = ir.node("GlobalAveragePool", [mean.inputs[0]])
    if ir.attr_int(mean, "keepdims", 1):
        ir.substitute(mean, pooled)
        return
    name = f"{mean.outputs[0].name}_pooled"
    value = pooled.outputs[0]
    value.name, value.type = ir.fresh_name(graph, name), mean.outputs[0].type
    dims = ir.shape(mean.inputs[0]) or ()
    value.shape = ir.Shape([*dims[:2], 1, 1])
    value.metadata_props[ir.RANGE_PROPERTY] = f"same:{mean.outputs[0].name}"
    graph.insert_before(mean, [pooled])
    axes = ir.initializer(graph, f"{name}_axes", np.array([2, 3], np.int64))
    ir.substitute(mean, ir.node("Squeeze", [value, axes]))


def undilated_averages(model: ir.Model) -> bool:
    """AveragePool says nothing of dilations of 1: ONNX Runtime's integer kernel refuses the attribute."""
    stated = [n for n in model.graph if n.op_type == "AveragePool" and set(ir.attr_ints(n, "dilations", ())) == {1}]
    for node in stated:
        del node.attributes["dilations"]
    return bool(stated)


_RULES = (scores, hard_sigmoid, hard_swish, constant_affine, scale_into_consumers)

INT8_PHASE = Phase(
    "ort-legalize",
    (
        Step("pool_means", pool_means),
        Step("undilated_averages", undilated_averages),
        *(Step(rule.__name__, each(rule)) for rule in _RULES),
    ),
    rounds=4,
)
