"""A group's element-wise tail as the `Finish` of a schedule."""

from __future__ import annotations

from effc.backends.tvm.ops.table import Site
from effc.backends.tvm.plan.group import Group
from effc.backends.tvm.schedules.finish import Finish, layout, operands
from effc.compiler import ir


def finish(group: Group, site: Site) -> Finish:
    """The tail's nodes with their operands; constants of one element stay immediates."""
    source = group.anchor.outputs[0] if group.anchor else None
    output = site.placed[group.outputs[0]]
    own = {source, *(v for node in group.tail for v in node.outputs)}
    read = dict.fromkeys(v for node in group.tail for v in operands(node) if v is not None and v not in own)
    constants = {v: c for v in read if (c := ir.const(v)) is not None}
    arrays = tuple((v.name or "", layout(c, output)) for v, c in constants.items() if c.size > 1)
    inputs = tuple(site.placed[v] for v in read if v not in constants)
    return Finish(group.tail, source, output, inputs, arrays)
