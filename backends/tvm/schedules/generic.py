"""A plain schedule for what TVM's operators compute without one of ours: joined, and outer loops in parallel.

Nothing becomes a vector: what is left here mostly gathers, and as vectors it took LLVM about twice as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm
from tvm import s_tir, tirx

Block = Any
Loop = Any
_SPATIAL, _REDUCTION = 0, 2
"""tirx.IterVar's kinds of block iterators."""


def scheduled(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """The same function with its element-wise parts joined and its loops spread, or as it was."""
    try:
        schedule = s_tir.Schedule(tvm.IRModule({"main": function}))
        blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
        left = [block for block in blocks if not _joined(schedule, block)]
        for block in left:
            _spread(schedule, block)
        return schedule.mod["main"]
    except (s_tir.ScheduleError, RuntimeError, ValueError):
        return function


def _joined(schedule: s_tir.Schedule, block: Block) -> bool:
    """Whether the block's expression now stands in those that read it."""
    try:
        schedule.compute_inline(block)
    except s_tir.ScheduleError:
        return False
    return True


def _spread(schedule: s_tir.Schedule, block: Block) -> None:
    """Parallel over the dims that are not summed over, but for the last of them."""
    loops, kinds = schedule.get_loops(block), [v.iter_type for v in schedule.get(block).iter_vars]
    if len(loops) != len(kinds) or any(kind not in (_SPATIAL, _REDUCTION) for kind in kinds) or not loops:
        return
    outer = loops[: next((i for i, kind in enumerate(kinds) if kind != _SPATIAL), len(loops))]
    if outer:
        schedule.parallel(_fused(schedule, outer[:-1] or outer))


def _fused(schedule: s_tir.Schedule, loops: Sequence[Loop]) -> Loop:
    return schedule.fuse(*loops) if len(loops) > 1 else loops[0]
