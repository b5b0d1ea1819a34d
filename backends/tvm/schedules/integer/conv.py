"""Convolution of bytes: direct, NCHWc out, from NCHWc or from row-major input of few channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import Placed, pack
from effc.backends.tvm.schedules.finish import Apply, Finish
from effc.backends.tvm.schedules.integer.border import frame, framed
from effc.backends.tvm.schedules.integer.dot import WORD, Dot, filled
from effc.backends.tvm.schedules.integer.window import Window
from effc.backends.tvm.schedules.nest import (
    Arguments,
    Buffer,
    Expr,
    Kernel,
    Register,
    kernel,
    lanes_of,
    load,
    register,
    splat,
    store,
)
from effc.backends.tvm.schedules.tiles import Tile
from effc.backends.tvm.schedules.window import Segment
from effc.compiler.ir import Array

Place = tuple[Expr | int, Expr | int, Expr | int]
"""Batch, tile of channel blocks, output row."""
_CHUNK = 4
"""Tiles of a long row that one task computes."""
_UNROLLED = 256
"""Dot products in the innermost loop's body."""


@dataclass(frozen=True)
class Convolution:
    """`scale[o] * sum over c, i, j of w[o, c, i, j] * (x[n, c, line, column] - zero) + bias[o]`.

    Attributes:
        x: bytes N, C, H, W, blocked or row-major.
        zero: x's zero point.
        weight: int8 O, C, KH, KW.
        scale: x's scale times the weights', O.
        bias: O.
        groups: of channels; of more than one each has whole blocks, and `weight` has the inputs of one group.
    """

    x: Placed
    zero: int
    weight: Array
    scale: Array
    bias: Array
    window: Window
    groups: int = 1

    @property
    def words(self) -> str:
        """The workload, for a database."""
        over, weight = self.window, "x".join(map(str, self.weight.shape))
        image = "x".join(map(str, over.image)) + ("" if self.x.block else " rows")
        moved = f"{over.strides} {over.dilations} {over.pads}"
        return f"conv {self.x.dtype} {image} * {weight} by {self.groups} / {moved} -> {over.size}"


def convolution(work: Convolution, finish: Finish, tile: Tile, dot: Dot, lanes: int) -> Kernel:
    """The kernel: rows of output columns in parallel; a tile's sums stay in registers over the whole reduction."""
    from effc.backends.tvm.schedules.integer import matrix

    zero = dot.zero(work.zero, work.x.dtype)
    given_window = work.window
    work = work if work.x.block else replace(work, window=framed(work.window))
    weight = matrix.packed(work, tile) if dot.matrix else _packed(work, tile, dot, lanes)
    constants = (weight, *corrected(work, zero, lanes), *finish.constants)
    given = Arguments((work.x, *finish.inputs), constants, (finish.output,))
    flat = work.window.pointwise and work.x.block > 0 and finish.flat
    work, finish = (_flat(work), finish.flattened()) if flat else (work, finish)

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        x = read[0] if work.x.block else frame(read[0], given_window, work.zero)
        buffers = Buffers(x, held[0], held[1], held[2], held[3], written[0])
        nest = matrix.MatrixNest if dot.matrix else Nest
        nest(work, zero, tile, dot, lanes, buffers, finish.bind(read[1:], held[4:])).write()

    return kernel("integer_convolution", given, body, seen=Placed.flattened if flat else None)


def corrected(work: Convolution, zero: int, lanes: int) -> tuple[Array, Array, Array]:
    """What the sums begin with, and the factor and summand that make them real: by channel blocks."""
    table = work.window.corrections(work.weight.astype(np.int64).sum(axis=(1, 3)), zero)
    return pack(table, lanes, axis=2), pack(work.scale, lanes), pack(work.bias, lanes)


def _flat(work: Convolution) -> Convolution:
    """A pointwise convolution as one over a single long row."""
    row = (1, work.window.size[0] * work.window.size[1])
    return replace(work, x=work.x.flattened(), window=replace(work.window, image=row, size=row))


def _packed(work: Convolution, tile: Tile, dot: Dot, lanes: int) -> Array:
    """Weights as (blocks / tile, input blocks, KH, KW, input words, tile, bytes of one dot product)."""
    if work.x.block:
        words = pack(work.weight, work.x.block, axis=1)  # O, ib, KH, KW, il
        words = words.reshape(*words.shape[:4], -1, WORD)
    else:
        words = np.moveaxis(pack(work.weight, WORD, axis=3), 1, 3)[:, None]  # O, 1, KH, KW / 4, C, 4
    blocks = pack(words, lanes)  # ob, ib, KH, KW, words, 4, ol
    laid = dot.order(blocks)
    grouped = laid.reshape(-1, tile.blocks, *laid.shape[1:])
    return np.ascontiguousarray(np.moveaxis(grouped, 1, 5))


@dataclass(frozen=True)
class Buffers:
    """Input, packed weights, corrections, scales, biases, output."""

    x: Buffer
    w: Buffer
    table: Buffer
    scale: Buffer
    bias: Buffer
    y: Buffer


def real(total: Expr, at: Buffers, block: Expr | int) -> Expr:
    """What sums stand for."""
    lanes = lanes_of(total)
    product = T.cast(total, f"float32x{lanes}") * load(at.scale, block, 0, lanes=lanes)
    return product + load(at.bias, block, 0, lanes=lanes)


@dataclass(frozen=True)
class Nest:
    """The loops around the tiles, and a tile with its sums in registers."""

    work: Convolution
    zero: int
    tile: Tile
    dot: Dot
    lanes: int
    at: Buffers
    apply: Apply

    def write(self) -> None:
        """Batch, channel tiles and rows (chunks of one long row) in parallel."""
        height, width = self.work.window.size
        groups = int(self.at.w.shape[0])
        if height == 1 and width > _CHUNK * self.tile.columns:
            self._long_row(groups, width)
            return
        with T.parallel(0, self.at.x.shape[0] * groups * height) as task:
            place = (task // (groups * height), task // height % groups, task % height)
            for segment in self.work.window.segments(self.tile.columns):
                self._segment(place, segment)

    def _long_row(self, groups: int, width: int) -> None:
        """A row of many whole tiles: chunks of them in parallel, the rest of the row with the last chunk."""
        columns = self.tile.columns
        size = _CHUNK * columns
        chunks = width // size
        with T.parallel(0, self.at.x.shape[0] * groups * chunks) as task:
            n, group, chunk = task // (groups * chunks), task // chunks % groups, task % chunks
            with T.serial(0, _CHUNK) as step:
                self._tile((n, group, 0), chunk * size + step * columns, columns)
            if width % size:
                with T.If(chunk == chunks - 1), T.Then():
                    whole = (width - chunks * size) // columns
                    self._segment((n, group, 0), Segment(chunks * size, whole, columns))
                    self._segment((n, group, 0), Segment(chunks * size + whole * columns, 1, width % columns))

    def _segment(self, place: Place, segment: Segment) -> None:
        if segment.count == 1 and segment.width:
            self._tile(place, segment.start, segment.width)
        elif segment.count and segment.width:
            with T.serial(0, segment.count) as step:
                self._tile(place, segment.start + step * segment.width, segment.width)

    def _tile(self, place: Place, column: Expr | int, width: int) -> None:
        n, group, row = place
        blocks, lanes, at = self.tile.blocks, self.lanes, self.at
        above, below = self.work.window.rows(row)
        sums = [[register(lanes, "int32") for _ in range(width)] for _ in range(blocks)]
        for b, line in enumerate(sums):
            for total in line:
                total.set(load(at.table, above, below, group * blocks + b, 0, lanes=lanes))
        self._reduce(place, column, sums)
        for b, line in enumerate(sums):
            block = group * blocks + b
            for i, total in enumerate(line):
                target = (n, block, row, column + i, 0)
                store(at.y, self.apply(real(total.get(), at, block), target, lanes), *target, lanes=lanes)

    def _reduce(self, place: Place, column: Expr | int, sums: list[list[Register]]) -> None:
        n, group, row = place
        _, outer, high, wide, inner, _, size = (int(d) for d in self.at.w.shape)
        width, window = len(sums[0]), self.work.window
        unrolled = _unrolled(inner, wide * width * len(sums))
        above, below = window.rows(row)
        first = self.origin(group)
        with T.serial(0, outer) as block, T.serial(above, high - below) as i, T.serial(0, inner // unrolled) as part:
            line = window.line(row, i)
            for k in range(unrolled):
                word = part * unrolled + k
                for j in range(wide):
                    for c in range(width):
                        value = self._input((n, first + block, line), column + c, j, word)
                        for b, sums_of in enumerate(sums):
                            weight = load(self.at.w, group, block, i, j, word, b, 0, lanes=size)
                            sums_of[c].set(
                                self.dot.step(sums_of[c].get(), splat(value, self.lanes), weight, self.lanes)
                            )

    def origin(self, group: Expr | int) -> Expr | int:
        """The first input block that a tile of output blocks reads."""
        if self.work.groups == 1:
            return 0
        blocks = self.work.weight.shape[1] // self.work.x.block
        return group // (int(self.at.w.shape[0]) // self.work.groups) * blocks

    def _input(self, line: tuple[Expr, Expr, Expr], column: Expr | int, tap: int, word: Expr) -> Expr:
        """Four channels of a pixel; of the zero point where the window leaves the row."""
        if isinstance(column, int) and not self.work.window.inside(column, tap):
            return filled(self.zero)
        n, block, row = line
        at = self.work.window.column(column, tap)
        if self.work.x.block:
            return self.dot.word(self.at.x, n, block, row, at, word * WORD)
        return self.dot.word(self.at.x, n, word, row, at)


def _unrolled(inner: int, products: int) -> int:
    return next(u for u in range(inner, 0, -1) if inner % u == 0 and (u == 1 or u * products <= _UNROLLED))
