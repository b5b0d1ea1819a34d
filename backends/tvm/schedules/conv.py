"""Convolution: direct, NCHWc out, from NCHWc or from row-major input of few channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import Placed, pack
from effc.backends.tvm.schedules.finish import Apply, Finish
from effc.backends.tvm.schedules.nest import Arguments, Buffer, Expr, Kernel, Register, kernel, load, register, splat, store
from effc.backends.tvm.schedules.tiles import Tile
from effc.compiler.ir import Array

Place = tuple[Expr | int, Expr | int, Expr | int]
"""Batch, tile of channel blocks, output row."""
_CHUNK = 4
"""Tiles of a long row that one task computes."""
_UNROLLED = 700
"""Multiply-adds in the innermost loop's body; more of them gain nothing and fill the instruction cache."""


@dataclass(frozen=True)
class Convolution:
    """`sum over c, i, j of w[o, c, i, j] * x[n, c, y * sy + i * dy - top, x * sx + j * dx - left] + bias[o]`.

    Attributes:
        x: N, C, H, W, blocked or row-major.
        weight: O, C, KH, KW.
        bias: O.
        strides, dilations: vertical, horizontal.
        pads: top, left.
        size: output height and width.
    """

    x: Placed
    weight: Array
    bias: Array
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int]
    size: tuple[int, int]

    @property
    def words(self) -> str:
        """The workload, for a database."""
        weight = "x".join(map(str, self.weight.shape))
        image = f"{self.x.shape[2]}x{self.x.shape[3]}" + ("" if self.x.block else " rows")
        return f"conv {self.x.dtype} {image} * {weight} / {self.strides} {self.dilations} {self.pads} -> {self.size}"

    @property
    def pointwise(self) -> bool:
        """Whether each output pixel is computed from the input pixel in its place."""
        return self.weight.shape[2:] == (1, 1) and self.strides == (1, 1) and self.pads == (0, 0) and self.x.block > 0


def convolution(work: Convolution, finish: Finish, tile: Tile, lanes: int) -> Kernel:
    """The kernel: rows of output columns in parallel; a tile's sums stay in registers over the whole reduction."""
    constants = (_packed(work, tile, lanes), pack(work.bias.astype(np.float32), lanes), *finish.constants)
    given = Arguments((work.x, *finish.inputs), constants, (finish.output,))
    flat = work.pointwise and finish.flat
    work, finish = (_flat_work(work), finish.flattened()) if flat else (work, finish)

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        apply = finish.bind(read[1:], held[2:])
        _Nest(work, tile, lanes, Buffers(read[0], held[0], held[1], written[0]), apply).write()

    return kernel("convolution", given, body, seen=Placed.flattened if flat else None)


def _flat_work(work: Convolution) -> Convolution:
    """A pointwise convolution as one over a single long row."""
    return replace(work, x=work.x.flattened(), size=(1, work.size[0] * work.size[1]))


def _packed(work: Convolution, tile: Tile, lanes: int) -> Array:
    """Weights as (blocks / tile, input blocks, KH, KW, input lanes, tile, output lanes)."""
    weight = work.weight.astype(np.float32)
    inner = work.x.block or weight.shape[1]
    by_input = pack(weight, inner, axis=1)  # O, ib, KH, KW, il
    by_output = pack(by_input, lanes)  # ob, ib, KH, KW, il, ol
    grouped = by_output.reshape(-1, tile.blocks, *by_output.shape[1:])
    return np.ascontiguousarray(np.moveaxis(grouped, 1, 5))


@dataclass(frozen=True)
class _Segment:
    """Neighbouring tiles of a row with the same code: `count` tiles of `width` columns from `start` on."""

    start: int
    count: int
    width: int


@dataclass(frozen=True)
class Buffers:
    """Input, packed weights, packed bias, output."""

    x: Buffer
    w: Buffer
    bias: Buffer
    y: Buffer


@dataclass(frozen=True)
class _Nest:
    work: Convolution
    tile: Tile
    lanes: int
    at: Buffers
    apply: Apply

    def write(self) -> None:
        """Batch, channel tiles and rows (chunks of one long row) in parallel."""
        height, width = self.work.size
        groups = int(self.at.w.shape[0])
        if height == 1 and width > _CHUNK * self.tile.columns:
            self._long_row(groups, width)
            return
        with T.parallel(0, self.at.x.shape[0] * groups * height) as task:
            place = (task // (groups * height), task // height % groups, task % height)
            for segment in segments(self.work, width, self.tile.columns):
                self._segment(place, segment)

    def _long_row(self, groups: int, width: int) -> None:
        """A row of many whole tiles: chunks of them in parallel, the rest of the row with the last chunk."""
        size = _CHUNK * self.tile.columns
        chunks = width // size
        with T.parallel(0, self.at.x.shape[0] * groups * chunks) as task:
            n, group, chunk = task // (groups * chunks), task // chunks % groups, task % chunks
            with T.serial(0, _CHUNK) as step:
                self._tile((n, group, 0), chunk * size + step * self.tile.columns, self.tile.columns)
            if width % size:
                with T.If(chunk == chunks - 1), T.Then():
                    whole = (width - chunks * size) // self.tile.columns
                    for segment in (_Segment(chunks * size, whole, self.tile.columns), _Segment(chunks * size + whole * self.tile.columns, 1, width % self.tile.columns)):
                        self._segment((n, group, 0), segment)

    def _segment(self, place: Place, segment: _Segment) -> None:
        if segment.count == 1 and segment.width:
            self._tile(place, segment.start, segment.width)
        elif segment.count and segment.width:
            with T.serial(0, segment.count) as step:
                self._tile(place, segment.start + step * segment.width, segment.width)

    def _tile(self, place: Place, column: Expr | int, width: int) -> None:
        n, group, row = place
        blocks, lanes = self.tile.blocks, self.lanes
        sums = [[register(lanes) for _ in range(width)] for _ in range(blocks)]
        for b, line in enumerate(sums):
            for total in line:
                total.set(load(self.at.bias, group * blocks + b, 0, lanes=lanes))
        self._reduce(place, column, sums)
        for b, line in enumerate(sums):
            for i, total in enumerate(line):
                target = (n, group * blocks + b, row, column + i, 0)
                store(self.at.y, self.apply(total.get(), target, lanes), *target, lanes=lanes)

    def _reduce(self, place: Place, column: Expr | int, sums: list[list[Register]]) -> None:
        (n, group, row), work = place, self.work
        _, outer, high, wide, inner, _, _ = (int(d) for d in self.at.w.shape)
        width = len(sums[0])
        taps = [(j, i) for j in range(wide) for i in range(width) if _inside(work, column, i, j)]
        unrolled = next(u for u in range(inner, 0, -1) if inner % u == 0 and (u == 1 or u * len(taps) * len(sums) <= _UNROLLED))
        first, last = _rows(work, row, high)
        with T.serial(0, outer) as block, T.serial(first, last) as i, T.serial(0, inner // unrolled) as part:
            line = row * work.strides[0] + i * work.dilations[0] - work.pads[0]
            for k in range(unrolled):
                lane = part * unrolled + k
                for j, c in taps:
                    at = (column + c) * work.strides[1] + j * work.dilations[1] - work.pads[1]
                    value = splat(self._input(n, block, line, at, lane), self.lanes)
                    for b, sums_of in enumerate(sums):
                        weight = load(self.at.w, group, block, i, j, lane, b, 0, lanes=self.lanes)
                        sums_of[c].set(sums_of[c].get() + value * weight)

    def _input(self, n: Expr, block: Expr, line: Expr, at: Expr, lane: Expr) -> Expr:
        return self.at.x[n, block, line, at, lane] if self.work.x.block else self.at.x[n, lane, line, at]


def _rows(work: Convolution, row: Expr, high: int) -> tuple[Expr | int, Expr | int]:
    """The taps of the kernel's height that lie inside the image for an output row."""
    rows = int(work.x.shape[2])
    top, stride, dilation = work.pads[0], work.strides[0], work.dilations[0]
    bottom = (work.size[0] - 1) * stride + (high - 1) * dilation - top
    first = T.max(0, (top - row * stride + dilation - 1) // dilation) if top > 0 else 0
    last = T.min(high, (rows - 1 + top - row * stride) // dilation + 1) if bottom >= rows else high
    return first, last


def _inside(work: Convolution, column: Expr | int, offset: int, tap: int) -> bool:
    """Whether a tap reads inside the row; tiles in a loop always do."""
    if not isinstance(column, int):
        return True
    at = (column + offset) * work.strides[1] + tap * work.dilations[1] - work.pads[1]
    return 0 <= at < int(work.x.shape[3])


def segments(work: Convolution, width: int, columns: int) -> Iterator[_Segment]:
    """The tiles of a row: those that touch the border alone, the others as loops."""
    starts = range(0, width, columns)
    run: list[int] = []
    for start in starts:
        size = min(columns, width - start)
        if size == columns and _is_inner(work, start, size):
            run.append(start)
            continue
        if run:
            yield _Segment(run[0], len(run), columns)
            run = []
        yield _Segment(start, 1, size)
    if run:
        yield _Segment(run[0], len(run), columns)


def _is_inner(work: Convolution, start: int, size: int) -> bool:
    low = start * work.strides[1] - work.pads[1]
    high = (start + size - 1) * work.strides[1] - work.pads[1] + (work.weight.shape[3] - 1) * work.dilations[1]
    return low >= 0 and high < int(work.x.shape[3])
