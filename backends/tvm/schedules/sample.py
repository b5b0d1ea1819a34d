"""Images made of other images' pixels by tables of places: enlarged, reduced, padded, cropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import Placed
from effc.backends.tvm.schedules.finish import Apply, Finish
from effc.backends.tvm.schedules.nest import (
    Arguments,
    Buffer,
    Expr,
    Kernel,
    held,
    kernel,
    load,
    splat,
    store,
    tasks,
)
from effc.compiler.ir import Array

_STEP = 4
"""Pixels of a step."""


@dataclass(frozen=True)
class Places:
    """Where the outputs of one side come from: `(1 - share) * x[low] + share * x[high]`.

    Attributes:
        low, high: int32, for each output; -1 for what lies outside.
        share: float32; None where `low` is all.
    """

    low: Array
    high: Array | None = None
    share: Array | None = None

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Those that there are."""
        return tuple(a for a in (self.low, self.high, self.share) if a is not None)


def sample(x: Placed, rows: Places, columns: Places, finish: Finish, fill: float = 0.0) -> Kernel:
    """The kernel over images in channel blocks: rows in parallel. `fill` is what lies outside."""
    seen = finish.image()
    tables = tuple(a.astype(x.dtype) if a.dtype.kind == "f" else a for a in (*rows.arrays, *columns.arrays))
    given = Arguments((x, *finish.inputs), (*tables, *seen.constants), (finish.output,))

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        apply = seen.bind(read[1:], held[len(tables) :])
        count = len(rows.arrays)
        outside = any(int(places.low.min()) < 0 for places in (rows, columns))
        ends = (held[:count], held[count : len(tables)])
        _Nest(x, read[0], ends, written[0], apply, fill if outside else None).write()

    return kernel("sample", given, body, seen=Placed.image)


@dataclass(frozen=True)
class _Nest:
    x: Placed
    image: Buffer
    tables: tuple[Sequence[Buffer], Sequence[Buffer]]
    y: Buffer
    apply: Apply
    fill: float | None

    def write(self) -> None:
        """Batch, channel blocks and rows in parallel."""
        batch, blocks, high, wide, _ = self.y.shape
        whole, rest = divmod(int(wide), _STEP)
        operations = int(blocks) * int(high) * int(wide) * len(self.tables[0]) * len(self.tables[1])
        with tasks(batch * blocks * high, operations) as task:
            place = (task // (blocks * high), task // high % blocks, task % high)
            if whole:
                with T.serial(0, whole) as step:
                    for i in range(_STEP):
                        self._pixel(place, step * _STEP + i)
            for i in range(rest):
                self._pixel(place, whole * _STEP + i)

    def _pixel(self, place: tuple[Expr, Expr, Expr], column: Expr | int) -> None:
        n, block, row = place
        rows, columns = self.tables
        value = self._line(n, block, (rows[0][row], columns), column)
        if len(rows) > 1:
            below = self._line(n, block, (rows[1][row], columns), column)
            value = self._between(value, below, rows[2][row])
        to = (n, block, row, column, 0)
        store(self.y, self.apply(value, to, self.x.block), *to, lanes=self.x.block)

    def _line(self, n: Expr, block: Expr, at: tuple[Expr, Sequence[Buffer]], column: Expr | int) -> Expr:
        """The value between two pixels of a row."""
        row, columns = at
        value = self._read(n, block, row, columns[0][column])
        if len(columns) == 1:
            return value
        return self._between(value, self._read(n, block, row, columns[1][column]), columns[2][column])

    def _between(self, a: Expr, b: Expr, share: Expr) -> Expr:
        first = held(a).get()
        return first + (b - first) * splat(share, self.x.block)

    def _read(self, n: Expr, block: Expr, row: Expr, column: Expr) -> Expr:
        lanes = self.x.block
        if self.fill is None:
            return load(self.image, n, block, row, column, 0, lanes=lanes)
        inside = tirx.all(row >= 0, column >= 0)
        value = load(self.image, n, block, T.max(row, 0), T.max(column, 0), 0, lanes=lanes)
        return tirx.Select(splat(inside, lanes), value, splat(tirx.const(self.fill, self.x.dtype), lanes))


def identity(size: int) -> Places:
    """Each from its own place."""
    return Places(np.arange(size, dtype=np.int32))
