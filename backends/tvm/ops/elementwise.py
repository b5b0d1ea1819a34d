"""Element-wise nodes that follow no other kernel."""

from __future__ import annotations

from effc.backends.tvm.ops.finish import finish
from effc.backends.tvm.ops.table import Site
from effc.backends.tvm.plan.group import Group
from effc.backends.tvm.schedules.nest import Kernel


def elementwise(group: Group, site: Site) -> Kernel:
    """One pass over the output."""
    from effc.backends.tvm.schedules.elementwise import elementwise as schedule

    return schedule(finish(group, site), site.cpu.lanes)
