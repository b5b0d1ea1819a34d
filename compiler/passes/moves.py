"""Large constants that are only laid out anew: done here, since to run the node copies them often."""

from __future__ import annotations

import math

import numpy as np

from effc.compiler import ir
from effc.compiler.passes.rewrite import graph_of

_LARGE_BYTES = 1 << 20
_RESHAPES = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})


def large(node: ir.Node) -> bool:
    """Transpose(w) and Reshape(w) of a large constant w that nothing else reads is a constant of as many bytes."""
    source, output = node.inputs[0], node.outputs[0]
    array, dims = ir.const(source), ir.static_shape(output)
    if array is None or source is None or dims is None or output.is_graph_output():
        return False
    fits = array.nbytes >= _LARGE_BYTES and not ir.is_splat(array) and math.prod(dims) == array.size
    if not fits or len(source.uses()) != 1 or source.is_graph_output():
        return False
    if node.op_type in _RESHAPES:
        array = array.reshape(dims)
    else:
        array = np.transpose(array, ir.attr_ints(node, "perm", range(array.ndim)[::-1]))
    ir.replace_uses(output, ir.frozen(graph_of(node), output, array))
    return True
