"""Depthwise convolution of bytes: four rows of the window are one dot product, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import pack
from effc.backends.tvm.schedules.finish import Apply, Finish
from effc.backends.tvm.schedules.integer.conv import Buffers, Convolution, Place, corrected, real
from effc.backends.tvm.schedules.integer.dot import WORD, Dot, filled
from effc.backends.tvm.schedules.nest import (
    Arguments,
    Buffer,
    Expr,
    Kernel,
    Register,
    kernel,
    load,
    register,
    splat,
    store,
)
from effc.compiler.ir import Array


def depthwise(work: Convolution, finish: Finish, columns: int, dot: Dot, lanes: int) -> Kernel:
    """The kernel; `work.weight` is (channels, 1, KH, KW)."""
    zero = dot.zero(work.zero, work.x.dtype)
    weight = _packed(work.weight, dot, lanes)
    constants = (weight, *corrected(work, zero, lanes), *finish.constants)
    given = Arguments((work.x, *finish.inputs), constants, (finish.output,))

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        buffers = Buffers(read[0], held[0], held[1], held[2], held[3], written[0])
        _Nest(work, zero, columns, dot, lanes, buffers, finish.bind(read[1:], held[4:])).write()

    return kernel("integer_depthwise", given, body)


def _packed(weight: Array, dot: Dot, lanes: int) -> Array:
    """Weights as (channel blocks, words of rows, KW, bytes of one dot product)."""
    rows = pack(weight[:, 0], WORD, axis=1)  # C, words, KW, 4
    return dot.order(pack(rows, lanes))


@dataclass(frozen=True)
class _Nest:
    work: Convolution
    zero: int
    columns: int
    dot: Dot
    lanes: int
    at: Buffers
    apply: Apply

    def write(self) -> None:
        """Batch, channel blocks and rows in parallel."""
        height, blocks = self.work.window.size[0], int(self.at.w.shape[0])
        with T.parallel(0, self.at.x.shape[0] * blocks * height) as task:
            place = (task // (blocks * height), task // height % blocks, task % height)
            masks = self._masks(place[2])
            for segment in self.work.window.segments(self.columns):
                if segment.count == 1:
                    self._tile(place, segment.start, segment.width, masks)
                else:
                    with T.serial(0, segment.count) as step:
                        self._tile(place, segment.start + step * segment.width, segment.width, masks)

    def _masks(self, row: Expr) -> list[Expr | None]:
        """For each word, which of its four rows lie inside the image; None where all do, always."""
        (above, below), high = self.work.window.cuts, self.work.window.taps[0]
        first, last = self.work.window.rows(row)
        masks: list[Expr | None] = []
        for word in range(int(self.at.w.shape[1])):
            taps = range(word * WORD, min(high, (word + 1) * WORD))
            if all(above <= tap < high - below for tap in taps):
                masks.append(None)
                continue
            mask: Expr = tirx.const(0, "int32")
            for tap in taps:
                bits = filled_at(tap % WORD)
                inside = tirx.all(first <= tap, tap < high - last)
                mask = mask + (
                    T.Select(inside, bits, tirx.const(0, "int32")) if tap < above or tap >= high - below else bits
                )
            held = register(1, "int32")
            held.set(mask)
            masks.append(splat(held.get(), self.lanes))
        return masks

    def _tile(self, place: Place, column: Expr | int, width: int, masks: list[Expr | None]) -> None:
        (n, block, row), window, lanes = place, self.work.window, self.lanes
        above, below = window.rows(row)
        sums = [register(lanes, "int32") for _ in range(width)]
        for total in sums:
            total.set(load(self.at.table, above, below, block, 0, lanes=lanes))
        self._reduce(place, column, sums, masks)
        for i, total in enumerate(sums):
            target = (n, block, row, column + i, 0)
            store(self.at.y, self.apply(real(total.get(), self.at, block), target, lanes), *target, lanes=lanes)

    def _reduce(self, place: Place, column: Expr | int, sums: list[Register], masks: list[Expr | None]) -> None:
        """Each input column is read once and used by all the outputs whose window it is in."""
        window, size = self.work.window, int(self.at.w.shape[3])
        users: dict[int, list[tuple[int, int]]] = {}
        for c in range(len(sums)):
            for tap in range(window.taps[1]):
                users.setdefault(c * window.strides[1] + tap * window.dilations[1], []).append((c, tap))
        for word, mask in enumerate(masks):
            for offset in sorted(users):
                value = register(self.lanes, "int32")
                value.set(self._input(place, (column, offset), word, mask))
                for c, tap in users[offset]:
                    weight = load(self.at.w, place[1], word, tap, 0, lanes=size)
                    sums[c].set(self.dot.step(sums[c].get(), value.get(), weight, self.lanes))

    def _input(self, place: Place, at: tuple[Expr | int, int], word: int, mask: Expr | None) -> Expr:
        """Four rows of a column, a byte of each channel side by side."""
        (n, block, row), window, (column, offset) = place, self.work.window, at
        where = column * window.strides[1] - window.pads[1] + offset
        if isinstance(where, int) and not 0 <= where < window.image[1]:
            found = splat(filled(self.zero), self.lanes)
            return found if mask is None else T.bitwise_and(found, mask)
        found = None
        for i in range(word * WORD, min(window.taps[0], (word + 1) * WORD)):
            line = window.line(row, i)
            if mask is not None:
                line = T.min(window.image[0] - 1, T.max(0, line))
            part = self.dot.byte(load(self.at.x, n, block, line, where, 0, lanes=self.lanes))
            part = part if i % WORD == 0 else T.shift_left(part, splat(tirx.const(8 * (i % WORD), "int32"), self.lanes))
            found = part if found is None else T.bitwise_or(found, part)
        return found if mask is None else T.bitwise_and(found, mask)


def filled_at(place: int) -> Expr:
    """A word whose byte at `place` is 255."""
    return tirx.const(int(np.uint32(255 << (8 * place)).astype(np.int32)), "int32")
