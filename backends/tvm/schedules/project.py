"""Convolution from channel blocks into few row-major channels: lanes are input channels, summed at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import Placed, pack
from effc.backends.tvm.schedules.conv import Convolution, Part
from effc.backends.tvm.schedules.finish import Apply, Finish
from effc.backends.tvm.schedules.nest import (
    Arguments,
    Buffer,
    Expr,
    Kernel,
    Register,
    folded,
    kernel,
    load,
    register,
    splat,
    store,
    tasks,
)
from effc.backends.tvm.schedules.window import Axis, Position, walk


def projection(work: Convolution, finish: Finish, lanes: int) -> Kernel:
    """The kernel: rows of every output channel in parallel, a vector of neighbouring outputs at a time."""
    seen = finish.image()
    weights = [pack(part.weight.astype(work.x.dtype), lanes, axis=1) for part in work.parts]
    constants = (work.bias.astype(work.x.dtype), *weights)
    given = Arguments((work.x, *finish.inputs), (*constants, *seen.constants), (finish.output,))

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        apply = seen.bind(read[1:], held[len(constants) :])
        parts = list(zip(work.parts, held[1:], strict=False))
        _Nest(work, lanes, (read[0], held[0], written[0]), parts, apply).write()

    return kernel("projection", given, body, seen=Placed.image)


@dataclass(frozen=True)
class _Nest:
    work: Convolution
    lanes: int
    at: tuple[Buffer, Buffer, Buffer]
    parts: Sequence[tuple[Part, Buffer]]
    apply: Apply

    def write(self) -> None:
        """Batch, output channels and rows in parallel."""
        made, high = int(self.at[1].shape[0]), self.work.rows.size
        one = self.parts[0][1].shape
        operations = made * high * self.work.columns.size * len(self.parts) * int(np.prod([int(d) for d in one[1:-1]]))
        with tasks(self.at[0].shape[0] * made * high, operations) as task:
            place = (task // (made * high), task // high % made, task % high)
            for rows, group in groupby(self.parts, key=lambda p: p[0].rows):
                members = list(group)
                for start in range(0, len(members), self.lanes):
                    self._guarded(place, rows.size < high, members[start : start + self.lanes])

    def _guarded(self, place: tuple[Expr, Expr, Expr], some: bool, parts: Sequence[tuple[Part, Buffer]]) -> None:
        """A row of windows, where these phases have it."""
        if not some:
            self._row(place, parts)
            return
        with T.If(place[2] < parts[0][0].rows.size), T.Then():
            self._row(place, parts)

    def _row(self, place: tuple[Expr, Expr, Expr], parts: Sequence[tuple[Part, Buffer]]) -> None:
        """A row of windows; those of the last one that not all phases have on their own."""
        axes = [part.columns for part, _ in parts]
        together = self.lanes // len(parts) if len(parts) == axes[0].step else 1
        for column, count in walk(_hull(axes), together):
            self._tile(place, column, count, parts)
        if axes[0].size > axes[-1].size:
            self._tile(place, axes[-1].size, 1, [p for p in parts if p[0].columns.size == axes[0].size])

    def _tile(
        self, place: tuple[Expr, Expr, Expr], column: Position, count: int, parts: Sequence[tuple[Part, Buffer]]
    ) -> None:
        """`count` windows of each phase, whose outputs are neighbours."""
        n, o, row = place
        dtype = self.work.x.dtype
        sums = [register(self.lanes, dtype) for _ in range(count * len(parts))]
        for total in sums:
            total.set(splat(tirx.const(0.0, dtype), self.lanes))
        for phase, (part, weight) in enumerate(parts):
            self._sum(place, column, (part, weight), sums[phase :: len(parts)])
        made = folded(sums)
        to = (n, o, parts[0][0].rows.output(row), parts[0][0].columns.output(column))
        value = made.get() + splat(self.at[1][o], made.lanes)
        store(self.at[2], self.apply(value, to, made.lanes), *to, lanes=made.lanes)

    def _sum(
        self, place: tuple[Expr, Expr, Expr], column: Position, by: tuple[Part, Buffer], sums: Sequence[Register]
    ) -> None:
        (n, o, row), (part, w), x = place, by, self.at[0]
        first, last = part.rows.existing(row)
        with T.serial(0, int(x.shape[1])) as block, T.serial(first, last) as i:
            for j in range(part.columns.taps):
                weight = load(w, o, block, i, j, 0, lanes=self.lanes)
                for c in (c for c in range(len(sums)) if part.columns.hits(column, c, j)):
                    pixel = load(
                        x, n, block, part.rows.reads(row, i), part.columns.reads(column + c, j), 0, lanes=self.lanes
                    )
                    sums[c].set(sums[c].get() + pixel * weight)


def _hull(axes: Sequence[Axis]) -> Axis:
    """Windows that cover those of all phases, as many as each of them has."""
    if len(axes) == 1:
        return axes[0]
    before = max(axis.before for axis in axes)
    taps = max(axis.taps - axis.before for axis in axes) + before
    return Axis(min(axis.size for axis in axes), axes[0].extent, taps, before=before)
