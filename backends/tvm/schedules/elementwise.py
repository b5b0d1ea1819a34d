"""Element-wise kernels: one pass over the output."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import Placed
from effc.backends.tvm.schedules.finish import Finish
from effc.backends.tvm.schedules.nest import Arguments, Buffer, Expr, Kernel, kernel, load, store, tasks, unravel
from effc.backends.tvm.schedules.turn import near_axis, turn

_WIDE = 4
"""Vectors that one step computes, so that their latencies overlap."""
_STEPS = 64
"""Steps of one task."""

Write = Callable[[Sequence[Expr | int], int], None]
"""(the place of the first lane, lanes)."""


def elementwise(finish: Finish, lanes: int) -> Kernel:
    """The finish alone. Dims that all operands share lie in memory as one."""
    seen = finish if any(p.strides for p in (finish.output, *finish.inputs)) else finish.merged()
    given = Arguments(finish.inputs, seen.constants, (finish.output,))
    views = {p.name: p for p in (*seen.inputs, seen.output)}

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        apply = seen.bind(read, held)

        def write(place: Sequence[Expr | int], width: int) -> None:
            store(written[0], apply(tirx.const(0.0, "float32"), place, width), *place, lanes=width)

        everywhere(written[0].shape, lanes, write, work=max(1, len(seen.nodes)))

    return kernel("elementwise", given, body, seen=None if seen is finish else lambda p: views[p.name])


def copy(source: Placed, target: Placed, lanes: int) -> Kernel:
    """A view's elements in the order of its own dims."""
    near = near_axis(source, lanes)
    if near is not None:
        return turn(source, target, near, lanes)

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        del held

        def write(place: Sequence[Expr | int], width: int) -> None:
            store(written[0], load(read[0], *place, lanes=width), *place, lanes=width)

        everywhere(written[0].shape, lanes, write)

    return kernel("copy", Arguments((source,), (), (target,)), body)


def everywhere(shape: Sequence[Expr], lanes: int, write: Write, work: int = 1) -> None:
    """Call `write` for every vector of a tensor: steps of some vectors of a row, or of some short rows, in tasks."""
    if not shape or not isinstance(shape[-1], int | tirx.IntImm):  # one element, or one for each of a batch
        with tasks(product(shape), work * fixed(shape)) as task:
            write(unravel(task, shape), 1)
        return
    *outer, row = shape
    short = bool(outer) and int(row) <= _WIDE * lanes and isinstance(outer[-1], int | tirx.IntImm)
    many = int(outer.pop()) if short else int(row)
    size = _WIDE if short else _WIDE * lanes
    steps, rest = divmod(many, size)
    chunks = max(1, -(-steps // _STEPS))

    def step(place: Sequence[Expr], start: Expr | int, count: int) -> None:
        rows = [(*place, start + i) for i in range(count)] if short else [(*place,)]
        for first in rows:
            for at in range(0, int(row) if short else count, lanes):
                width = min(lanes, (int(row) if short else count) - at)
                write((*first, at) if short else (*first, start + at), width)

    with tasks(product(outer) * chunks, work * fixed(outer) * -(-many * (int(row) if short else 1) // lanes)) as task:
        place, chunk = unravel(task // chunks, outer), task % chunks
        if steps:
            with T.serial(chunk * _STEPS, T.min(steps, (chunk + 1) * _STEPS)) as i:
                step(place, i * size, size)
        if rest and chunks > 1:
            with T.If(chunk == chunks - 1), T.Then():
                step(place, steps * size, rest)
        elif rest:
            step(place, steps * size, rest)


def product(dims: Sequence[Expr]) -> Expr | int:
    """How many elements."""
    total: Expr | int = 1
    for dim in dims:
        total = total * dim
    return total


def fixed(dims: Sequence[Expr]) -> int:
    """How many elements where each symbol is 1."""
    return int(np.prod([int(d) for d in dims if isinstance(d, int | tirx.IntImm)], dtype=np.int64))
