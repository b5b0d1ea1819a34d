"""What nothing uses goes, equal weights are shared, what is computed twice is computed once."""

from __future__ import annotations

from collections import defaultdict

from effc.compiler import ir
from effc.compiler.passes import common
from effc.compiler.phase import Step

_GLIMPSED = 16


def dead_code(model: ir.Model) -> bool:
    """Drop nodes and initializers that no output needs."""
    weights = len(model.graph.initializers)
    return ir.prune_all(model) or len(model.graph.initializers) < weights


def shared_weights(model: ir.Model) -> bool:
    """Initializers of equal type, shape and bytes become one."""
    groups: dict[tuple[object, ...], list[ir.Value]] = defaultdict(list)
    for value in model.graph.initializers.values():
        array = ir.const(value)
        if array is not None and not value.is_graph_output() and value.dtype != ir.DataType.STRING:
            groups[value.dtype, array.shape, _glimpse(array)].append(value)
    changed = False
    for group in groups.values():
        changed |= len(group) > 1 and _share(group)
    return changed and (ir.prune(model) or True)


def _glimpse(array: ir.Array) -> bytes:
    """Some of the elements, by which most weights differ already."""
    if ir.is_splat(array):
        return array.flat[0].tobytes()
    return array.reshape(-1)[:: max(1, array.size // _GLIMPSED)].tobytes()


def _share(group: list[ir.Value]) -> bool:
    first: dict[bytes, ir.Value] = {}
    changed = False
    for value in group:
        kept = first.setdefault(_content(value), value)
        if kept is not value:
            ir.replace_uses(value, kept)
            changed = True
    return changed


def _content(value: ir.Value) -> bytes:
    array = ir.const(value)
    if array is not None and ir.is_splat(array):
        return array.flat[0].tobytes()
    return b"" if value.const_value is None else value.const_value.tobytes()


DEAD_CODE = Step("dead code", dead_code)
SHARED_WEIGHTS = Step("shared weights", shared_weights)
EARLY = (DEAD_CODE, SHARED_WEIGHTS)
"""What may run before convolutions have taken in what follows them: of two equal ones each needs to be read once."""

STEPS = (*EARLY, *common.STEPS)
