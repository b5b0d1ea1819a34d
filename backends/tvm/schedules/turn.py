"""A view whose elements lie next to each other along another axis than its last, put in order: squares of registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import Placed
from effc.backends.tvm.plan.views import permuted
from effc.backends.tvm.schedules.nest import (
    Arguments,
    Buffer,
    Expr,
    Kernel,
    kernel,
    load,
    register,
    store,
    tasks,
    total,
    transposed,
    unravel,
)


def near_axis(source: Placed, lanes: int) -> int | None:
    """The axis along which neighbours lie in memory, where it and the last one fill squares; else None."""
    if source.dtype != "float32" or not source.strides or source.strides[-1] == 1:
        return None
    last, sizes = source.shape[-1], [d if isinstance(d, int) else 0 for d in source.shape]
    found = (a for a, s in enumerate(source.strides[:-1]) if s == 1 and sizes[a] >= lanes)
    return next(found, None) if isinstance(last, int) and last >= lanes else None


def turn(source: Placed, target: Placed, near: int, lanes: int) -> Kernel:
    """The kernel: tasks of one row of squares; what is left of the axes one element after the other."""
    order = [*range(len(source.shape))]
    order[near], order[-1] = order[-1], order[near]
    given = Arguments((permuted(source, order),), (), (target,))

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        del held
        nest = _Nest(read[0], written[0], near, lanes)
        nest.squares()
        nest.rest()

    return kernel("turn", given, body)


@dataclass(frozen=True)
class _Nest:
    """`out[.., i (at near), .., j] = x[.., j (at near), .., i]`."""

    x: Buffer
    out: Buffer
    near: int
    lanes: int

    def _tasks(self, count: int, last: int) -> tuple[list[Expr | int], int]:
        outer = [*self.out.shape[: self.near], *self.out.shape[self.near + 1 : -1], count]
        return outer, int(total(outer, known=1)) * last // self.lanes

    def _place(self, others: Sequence[Expr], at: Expr | int, last: Expr | int) -> tuple[Expr | int, ...]:
        return (*others[: self.near], at, *others[self.near :], last)

    def squares(self) -> None:
        """Squares of `lanes` by `lanes`; the last of a row may be narrower."""
        last = int(self.out.shape[-1])
        outer, work = self._tasks(int(self.out.shape[self.near]) // self.lanes, last * self.lanes)
        with tasks(total(outer), work) as task:
            *others, step = unravel(task, outer)
            whole, rest = divmod(last, self.lanes)
            with T.serial(0, whole) as j:
                self._square(others, step * self.lanes, j * self.lanes, self.lanes)
            if rest:
                self._square(others, step * self.lanes, whole * self.lanes, rest)

    def _square(self, others: Sequence[Expr], i: Expr, j: Expr | int, width: int) -> None:
        rows = [register(self.lanes) for _ in range(self.lanes)]
        for r, row in enumerate(rows):
            inside = load(self.x, *self._place(others, j + min(r, width - 1), i), lanes=self.lanes)
            row.set(inside)
        transposed(rows)
        for r, row in enumerate(rows):
            store(self.out, load(row.buffer, 0, lanes=width), *self._place(others, i + r, j), lanes=width)

    def rest(self) -> None:
        """The rows beyond whole squares."""
        size, last = int(self.out.shape[self.near]), int(self.out.shape[-1])
        left = size % self.lanes
        if not left:
            return
        outer, work = self._tasks(last, left)
        with tasks(total(outer), work) as task:
            *others, j = unravel(task, outer)
            for i in range(size - left, size):
                store(self.out, load(self.x, *self._place(others, j, i)), *self._place(others, i, j))
