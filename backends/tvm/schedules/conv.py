"""Convolution: direct, into channel blocks, from channel blocks or from row-major input of few channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import Placed, pack
from effc.backends.tvm.schedules.finish import Apply, Finish
from effc.backends.tvm.schedules.nest import (
    Arguments,
    Buffer,
    Expr,
    Kernel,
    Register,
    kernel,
    load,
    narrowed,
    register,
    splat,
    store,
    tasks,
)
from effc.backends.tvm.schedules.sums import Sums, in_runs, kept, run_of, steps_of, stretches, unrolled
from effc.backends.tvm.schedules.tiles import Tile
from effc.backends.tvm.schedules.window import Axis, Position, walk
from effc.compiler.ir import Array

_CHUNK = 4
"""Tiles of a long row that one task computes."""
_UNROLLED = 250
"""Multiply-adds in the innermost loop's body; more of them gain nothing, and fill the instruction cache."""
_NEAR = 1 << 18
"""Bytes of input or weights that stay near a core while it goes over them again."""


@dataclass(frozen=True)
class Part:
    """Some of a convolution's output pixels, made by windows of one kernel: all, or one phase of a transposed one.

    Attributes:
        weight: O, C / groups, KH, KW.
        rows, columns: how the windows move.
    """

    weight: Array
    rows: Axis
    columns: Axis


@dataclass(frozen=True)
class Convolution:
    """`bias[o] + sum over c, i, j of weight[o, c, i, j] * x[n, c, rows.reads(y, i), columns.reads(x, j)]`.

    Attributes:
        x: N, C, H, W, blocked or row-major.
        parts: they make the whole output together.
        bias: O.
        groups: of input and output channels that belong together.
    """

    x: Placed
    parts: tuple[Part, ...]
    bias: Array
    groups: int = 1

    @property
    def words(self) -> str:
        """The workload, for a database."""
        weight = "x".join(map(str, self.parts[0].weight.shape))
        image = f"{self.rows.extent}x{self.columns.extent}" + ("" if self.x.block else " rows")
        sides = " ".join(f"{a.stride},{a.dilation},{a.before}->{a.size}" for a in (self.rows, self.columns))
        return f"conv {self.x.dtype} {image} * {weight} / {self.groups} {sides} x {len(self.parts)}"

    @property
    def rows(self) -> Axis:
        """Those of the first part, of which there are most."""
        return self.parts[0].rows

    @property
    def columns(self) -> Axis:
        """Those of the first part, of which there are most."""
        return self.parts[0].columns

    @property
    def pointwise(self) -> bool:
        """Whether each output pixel is computed from the input pixel in its place."""
        return len(self.parts) == 1 and self.rows.same and self.columns.same and self.x.block > 0

    def flattened(self) -> Convolution:
        """A pointwise convolution as one over a single long row."""
        part = replace(self.parts[0], rows=Axis(1, 1), columns=self.columns.joined(self.rows))
        return replace(self, x=self.x.flattened(), parts=(part,))


def convolution(work: Convolution, finish: Finish, tile: Tile, lanes: int) -> Kernel:
    """The kernel: rows of output columns in parallel; a tile's sums stay in registers over the whole reduction."""
    flat = work.pointwise and finish.image().flat
    seen = finish.image().flattened() if flat else finish.image()
    reach = _Reach.of(work, tile.blocks * lanes)
    constants = (
        pack(work.bias.astype(work.x.dtype), lanes),
        reach.starts,
        *(_packed(part.weight, work, reach, (tile, lanes)) for part in work.parts),
    )
    given = Arguments((work.x, *finish.inputs), (*constants, *seen.constants), (finish.output,))
    if flat:
        work = work.flattened()

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        apply = seen.bind(read[1:], held[len(constants) :])
        at = Buffers(read[0], held[0], held[1], written[0])
        nests = [
            _Nest(work, p, reach, tile, lanes, at, w, apply)
            for p, w in zip(work.parts, held[2 : len(constants)], strict=True)
        ]
        _loops(nests)

    return kernel("convolution", given, body, seen=Placed.flattened if flat else Placed.image)


@dataclass(frozen=True)
class _Reach:
    """Which input channels the outputs of a tile read: `span` of them from the first channel of a block on.

    Attributes:
        starts: the first block of each tile.
    """

    starts: Array
    span: int

    @staticmethod
    def of(work: Convolution, outputs: int) -> _Reach:
        made, taken = work.bias.shape[0], int(work.x.shape[1])
        tiles = -(-made // outputs)
        if work.groups == 1:
            return _Reach(np.zeros(tiles, np.int32), taken)
        block, each, made_each = work.x.block or taken, taken // work.groups, made // work.groups
        first = [t * outputs // made_each * each // block for t in range(tiles)]
        last = [(min((t + 1) * outputs, made) - 1) // made_each * each + each - 1 for t in range(tiles)]
        blocks = max(stop // block - start + 1 for start, stop in zip(first, last, strict=True))
        held = -(-taken // block)
        return _Reach(np.asarray([min(f, held - blocks) for f in first], np.int32), blocks * block)

    def run(self, lanes: int) -> int:
        """How many channels lie side by side: they divide the span, and are of one block."""
        fits = (s for s in range(min(lanes, self.span), 0, -1) if self.span % s == 0)
        return next(s for s in fits if lanes % s == 0 or s == self.span)


def _packed(weight: Array, work: Convolution, reach: _Reach, by: tuple[Tile, int]) -> Array:
    """Weights as (tiles, runs of channels, KH, KW, channels of a run, blocks of a tile, lanes)."""
    tile, lanes = by
    outputs = tile.blocks * lanes
    made, each, *taps = weight.shape
    tiles = len(reach.starts)
    full = np.zeros((tiles * outputs, reach.span, *taps), work.x.dtype)
    if work.groups == 1:
        full[:made] = weight
    else:
        for o in range(made):
            first = o * work.groups // made * each - int(reach.starts[o // outputs]) * (work.x.block or reach.span)
            full[o, first : first + each] = weight[o]
    split = full.reshape(tiles, tile.blocks, lanes, -1, reach.run(lanes), *taps)
    return np.ascontiguousarray(split.transpose(0, 3, 5, 6, 4, 1, 2))


@dataclass(frozen=True)
class Buffers:
    """Input, packed bias, first input blocks, output."""

    x: Buffer
    bias: Buffer
    starts: Buffer
    y: Buffer


def _loops(nests: Sequence[_Nest]) -> None:
    """Batch, channel tiles and rows (chunks of one long row) in parallel."""
    first = nests[0]
    tiles, size = len(first.reach.starts), _CHUNK * first.tile.columns
    columns = first.work.columns
    long = first.work.rows.size == 1 and len(nests) == 1 and columns.clear(0, columns.size) and columns.size > size
    count = columns.size // size if long else first.work.rows.size
    inner_tiles = first.sweeps_weights
    with tasks(first.at.x.shape[0] * tiles * count, tiles * sum(n.work_of_tile for n in nests)) as task:
        n, place = task // (tiles * count), task % (tiles * count)
        group, line = (place % tiles, place // tiles) if inner_tiles else (place // count, place % count)
        if long:
            first.chunk((n, group), line, count)
            return
        for nest in nests:
            nest.guarded((n, group), line)


@dataclass(frozen=True)
class _Nest:
    work: Convolution
    part: Part
    reach: _Reach
    tile: Tile
    lanes: int
    at: Buffers
    w: Buffer
    apply: Apply

    @cached_property
    def work_of_tile(self) -> float:
        """Vector operations for one tile of channels over the image."""
        taps = int(np.prod(self.part.weight.shape[2:]))
        return self.part.rows.size * self.part.columns.size * taps * self.reach.span * self.tile.blocks

    @property
    def sweeps_weights(self) -> bool:
        """Whether to go over all weights for each row, rather than over the whole image for each tile of channels."""
        size = np.dtype(self.work.x.dtype).itemsize
        image = size * int(np.prod([int(d) for d in self.work.x.shape[1:]]))
        weights = size * int(np.prod([int(d) for d in self.w.shape]))
        return image > _NEAR >= weights

    def guarded(self, place: tuple[Expr, Expr], row: Expr) -> None:
        """One row, where this part has it."""
        if self.part.rows.size == self.work.rows.size:
            self.row(place, row)
        else:
            with T.If(row < self.part.rows.size), T.Then():
                self.row(place, row)

    def row(self, place: tuple[Expr, Expr], row: Position) -> None:
        """All tiles of a row."""
        for column, width in walk(self.part.columns, self.tile.columns):
            self.make(place, row, column, width)

    def chunk(self, place: tuple[Expr, Expr], chunk: Expr, chunks: int) -> None:
        """Some whole tiles of a long row; what is left of the row comes with the last of them."""
        width, size = self.tile.columns, _CHUNK * self.tile.columns
        with T.serial(0, _CHUNK) as step:
            self.make(place, 0, chunk * size + step * width, width)
        if self.part.columns.size > chunks * size:
            with T.If(chunk == chunks - 1), T.Then():
                for column, rest in walk(self.part.columns, width, chunks * size):
                    self.make(place, 0, column, rest)

    def make(self, place: tuple[Expr, Expr], row: Position, column: Position, width: int) -> None:
        """One tile: `width` windows of a row by the tile's channel blocks."""
        n, group = place
        blocks, lanes = self.tile.blocks, self.lanes
        dtype = kept(self.work.x.dtype, self._products)
        sums = [[register(lanes, dtype) for _ in range(width)] for _ in range(blocks)]
        for b, line in enumerate(sums):
            for total in line:
                total.set(narrowed(load(self.at.bias, group * blocks + b, 0, lanes=lanes), dtype))
        self._reduce(place, row, column, sums)
        for b, line in enumerate(sums):
            for i, total in enumerate(line):
                to = (n, group * blocks + b, self.part.rows.output(row), self.part.columns.output(column + i), 0)
                store(self.at.y, self.apply(narrowed(total.get(), self.work.x.dtype), to, lanes), *to, lanes=lanes)

    @property
    def _products(self) -> int:
        return self.reach.span * int(np.prod(self.part.weight.shape[2:]))

    def _reduce(self, place: tuple[Expr, Expr], row: Position, column: Position, sums: Sums) -> None:
        """Runs of channels, rows and columns of taps, channels of the run: the order in which weights lie in memory."""
        run, window = self.reach.run(self.lanes), (row, column)
        first, last = self.part.rows.existing(row)
        parts = self.reach.span // run
        if not in_runs(self.work.x.dtype, self._products):
            with T.serial(0, parts) as part, T.serial(first, last) as i:
                self._taps(place, window, (part, i), sums)
            return
        count, each = stretches(parts, run * self.part.columns.taps)
        with (
            T.serial(0, count) as stretch,
            T.serial(first, last) as i,
            run_of(sums) as some,
            T.serial(0, steps_of(stretch, each, parts)) as step,
        ):
            self._taps(place, window, (stretch * each + step, i), some)

    def _taps(
        self, place: tuple[Expr, Expr], window: tuple[Position, Position], at: tuple[Expr, Expr], sums: Sums
    ) -> None:
        """A row of taps over a run of channels."""
        columns, column = self.part.columns, window[1]
        if isinstance(column, int):
            for j in range(columns.taps):
                hits = [c for c in range(len(sums[0])) if columns.hits(column, c, j)]
                self._tap(place, window, (*at, j), [[line[c] for line in sums] for c in hits], hits)
        else:
            with T.serial(0, columns.taps) as j:
                self._tap(place, window, (*at, j), list(zip(*sums, strict=True)), range(len(sums[0])))

    def _tap(
        self,
        place: tuple[Expr, Expr],
        window: tuple[Position, Position],
        tap: tuple[Expr, Expr, Position],
        sums: Sequence[Sequence[Register]],
        offsets: Sequence[int],
    ) -> None:
        """One tap over a run of channels. A loop of its own: else values that taps share would be kept in registers."""
        (n, group), (row, column), (part, i, j), run = place, window, tap, self.reach.run(self.lanes)
        most = unrolled(_UNROLLED, self.work.x.dtype) // max(1, len(sums) * self.tile.blocks)
        step = next(s for s in range(max(1, min(run, most)), 0, -1) if run % s == 0)
        with T.serial(0, run // step) as inner:
            for k in range(step):
                pixel = self._pixel(n, group, part * run + inner * step + k, self.part.rows.reads(row, i))
                for c, line in zip(offsets, sums, strict=True):
                    value = splat(pixel(self.part.columns.reads(column + c, j)), self.lanes)
                    for b, total in enumerate(line):
                        weight = load(self.w, group, part, i, j, inner * step + k, b, 0, lanes=self.lanes)
                        total.set(total.get() + value * weight)

    def _pixel(self, n: Expr, group: Expr, channel: Expr, row: Expr) -> Callable[[Position], Expr]:
        """One channel of an input row, as a function of the column."""
        x, block = self.at.x, self.work.x.block
        if not block:
            return lambda column: x[n, channel, row, column]
        first = self.at.starts[group] if self.work.groups > 1 else 0
        return lambda column: x[n, first + channel // block, row, column, channel % block]
