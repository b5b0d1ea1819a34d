"""Matrix products: rows of A by panels of B, a tile of sums in registers over the whole reduction.

B lies in panels of a few vectors' width, (panels, K, blocks * lanes), so that the innermost loop reads it in order, as
in Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008). A constant B is packed when the
model is built; a computed one when the kernel runs, a panel at a time, where it does not lie so already. Sums
of float16 are kept in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tvm import tirx
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
    number,
    register,
    scratch,
    splat,
    store,
    tasks,
    unravel,
)
from effc.backends.tvm.schedules.sums import Sums, in_runs, kept, run_of, steps_of, stretches, unrolled
from effc.backends.tvm.schedules.tiles import Tile, cycles
from effc.compiler.ir import Array

_UNROLLED = 240
"""Multiply-adds in the innermost loop's body."""
_CACHED = 192 * 1024
"""Bytes of A that stay in the second-level cache while every panel of B passes."""


@dataclass(frozen=True)
class Product:
    """`out[.., m, n] = sum over k of a[.., m, k] * b[.., k, n] + bias[n]`; leading dims broadcast.

    Attributes:
        a: (.., M, K), read element by element: any strides will do.
        b: (.., K, N) computed, or (K, N) constant.
        bias: N, or nothing.
        sums: the type in which is summed, in runs where it is float16.
    """

    a: Placed
    b: Placed | Array
    bias: Array | None = None
    sums: str = "float32"

    @property
    def words(self) -> str:
        """The workload, for a database."""
        kind = "computed" if isinstance(self.b, Placed) else "constant"
        rows = "x".join(str(d) for d in self.a.shape[:-1])
        return f"product {self.a.dtype} {rows} x {self.depth} x {self.width} {kind}"

    @property
    def depth(self) -> int:
        """K."""
        return int(self.a.shape[-1])

    @property
    def width(self) -> int:
        """N."""
        return int(self.b.shape[-1])


def ranked(rows: int, blocks: int, registers: int) -> list[Tile]:
    """Tiles of `columns` rows of A by `blocks` vectors of B, the one first that needs the fewest cycles."""
    wide = 8 if rows == 1 else 4
    spare = 3 if registers > 16 else 2
    tiles = [
        Tile(r, b)
        for b in range(1, min(wide, blocks) + 1)
        for r in range(1, min(rows, 14) + 1)
        if r * b + b + spare <= registers
    ]
    return sorted(tiles, key=lambda t: (_cost(rows, blocks, t), -t.columns * t.blocks))


def _cost(rows: int, blocks: int, tile: Tile) -> float:
    """Cycles for one step of the reduction over all rows and blocks."""
    parts = [(blocks // tile.blocks, tile.blocks), (1, blocks % tile.blocks)]
    heights = [(rows // tile.columns, tile.columns), (1, rows % tile.columns)]
    return sum(n * m * cycles(h, b) for n, b in parts if b for m, h in heights if h)


def product(work: Product, finish: Finish, tile: Tile, lanes: int) -> Kernel:
    """The kernel: panels of B and chunks of A's rows in parallel."""
    packed = () if isinstance(work.b, Placed) else panels(work.b.astype(work.a.dtype), tile.blocks, lanes)
    bias = () if work.bias is None else (pack(work.bias.astype(work.sums), lanes),)
    computed = (work.b,) if isinstance(work.b, Placed) else ()
    given = Arguments((work.a, *computed, *finish.inputs), (*packed, *bias, *finish.constants), (finish.output,))

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        first, second = 1 + len(computed), len(packed) + len(bias)
        apply = finish.bind(read[first:], held[second:])
        b = tuple(read[1:first]) or tuple(held[: len(packed)])
        at = _Buffers(read[0], b, held[len(packed)] if bias else None, written[0])
        _Nest(work, tile, lanes, at, apply).write()

    return kernel("product", given, body)


def panels(weight: Array, blocks: int, lanes: int) -> tuple[Array, ...]:
    """K x N as (N / (blocks * lanes), K, blocks * lanes), and the last, narrower panel where N leaves one."""
    packed = pack(weight, lanes, axis=1)  # K, nb, lanes
    by_block = np.moveaxis(packed, 1, 0)  # nb, K, lanes
    whole = len(by_block) // blocks * blocks
    parts = [part for part in (by_block[:whole], by_block[whole:]) if len(part)]
    return tuple(_side_by_side(part, min(blocks, len(part))) for part in parts)


def _side_by_side(part: Array, blocks: int) -> Array:
    grouped = part.reshape(-1, blocks, *part.shape[1:])
    return np.ascontiguousarray(np.moveaxis(grouped, 1, 2)).reshape(len(grouped), part.shape[1], -1)


@dataclass(frozen=True)
class _Buffers:
    a: Buffer
    b: tuple[Buffer, ...]
    bias: Buffer | None
    out: Buffer


@dataclass(frozen=True)
class _Panel:
    """Columns of B that are summed at once: `blocks` vectors from column `start` on; `k, block -> vector`."""

    b: Buffer
    place: tuple[Expr | int, ...]
    first: Expr | int
    start: Expr | int
    blocks: int


@dataclass(frozen=True)
class _Nest:
    work: Product
    tile: Tile
    lanes: int
    at: _Buffers
    apply: Apply

    @cached_property
    def batch(self) -> tuple[Expr | int, ...]:
        return tuple(self.at.out.shape[:-2])

    @cached_property
    def rows(self) -> Expr | int:
        found = self.at.out.shape[-2]
        return int(found) if isinstance(found, (int, tirx.IntImm)) else found

    def write(self) -> None:
        """For each batch and panel: its rows, in chunks that the cache holds."""
        for count, blocks, first in self._groups():
            with self._parallel(count, blocks) as task:
                *batch, chunk, panel = unravel(task, (*self.batch, self._chunks, count))
                self._panel(batch, chunk, self._columns(batch, 0 if count == 1 else panel, first, blocks))

    def _parallel(self, count: int, blocks: int) -> Expr:
        total: Expr | int = count * self._chunks
        for dim in self.batch:
            total = total * dim
        rows = self.rows if isinstance(self.rows, int) else 1
        size = int(np.prod([int(d) for d in self.batch if isinstance(d, (int, tirx.IntImm))], dtype=np.int64))
        return tasks(total, size * rows * self.work.depth * count * blocks)

    def _groups(self) -> Iterator[tuple[int, int, int]]:
        """(panels, blocks of each, first block): panels of whole vectors; a last one that is narrower or not whole."""
        wide = self.tile.blocks
        blocks = -(-self.work.width // self.lanes)
        last = blocks % wide or (wide if self.work.width % self.lanes else 0)
        if blocks > last:
            yield (blocks - last) // wide, wide, 0
        if last:
            yield 1, last, blocks - last

    @cached_property
    def _chunk(self) -> int:
        """Rows whose part of A the cache holds, in whole tiles."""
        fitting = max(1, _CACHED // (np.dtype(self.work.a.dtype).itemsize * self.work.depth * self.tile.columns))
        return fitting * self.tile.columns

    @cached_property
    def _chunks(self) -> int:
        return -(-self.rows // self._chunk) if isinstance(self.rows, int) else 1

    def _columns(self, batch: Sequence[Expr | int], panel: Expr | int, first: int, blocks: int) -> _Panel:
        start = (panel * blocks + first) * self.lanes
        if not isinstance(self.work.b, Placed):
            whole = blocks == self.tile.blocks
            place = panel + first // blocks if whole else 0
            return _Panel(self.at.b[0 if whole else -1], (place,), 0, start, blocks)
        b = self.at.b[0]
        place = aligned(batch, tuple(b.shape[:-2]))
        if self.work.width % self.lanes == 0 and _last_stride(self.work.b) == 1:
            return _Panel(b, place, start, start, blocks)
        return self._packed(b, place, start, blocks)

    def _packed(self, b: Buffer, place: tuple[Expr | int, ...], start: Expr | int, blocks: int) -> _Panel:
        """The panel copied to the stack, filled up with zeros."""
        depth, size = self.work.depth, blocks * self.lanes
        panel = scratch((depth, size), self.work.sums)
        with T.serial(0, depth) as k, T.serial(0, size) as j:
            column = start + j
            inside = column < self.work.width
            value = narrowed(b[(*place, k, T.min(column, self.work.width - 1))], self.work.sums)
            exact = self.work.width % self.lanes == 0
            panel_value = value if exact else T.Select(inside, value, number(0.0, value))
            T.buffer_store(panel, panel_value, [k, j])
        return _Panel(panel, (), 0, start, blocks)

    def _panel(self, batch: Sequence[Expr | int], chunk: Expr, panel: _Panel) -> None:
        tall = self.tile.columns
        if not isinstance(self.rows, int):
            with T.serial(0, self.rows // tall) as step:
                self._tile(batch, step * tall, tall, panel)
            if tall > 1:
                with T.serial(0, self.rows % tall) as step:
                    self._tile(batch, self.rows // tall * tall + step, 1, panel)
            return
        whole, rest = divmod(self.rows, tall)
        if self._chunks == 1:
            if whole:
                with T.serial(0, whole) as step:
                    self._tile(batch, step * tall, tall, panel)
            if rest:
                self._tile(batch, whole * tall, rest, panel)
            return
        size = self._chunk // tall
        with T.serial(0, T.min(size, whole - chunk * size)) as step:
            self._tile(batch, (chunk * size + step) * tall, tall, panel)
        if rest:
            with T.If(chunk == self._chunks - 1), T.Then():
                self._tile(batch, whole * tall, rest, panel)

    def _tile(self, batch: Sequence[Expr | int], row: Expr | int, height: int, panel: _Panel) -> None:
        dtype = kept(self.work.sums, self.work.depth)
        sums = [[register(self.lanes, dtype) for _ in range(height)] for _ in range(panel.blocks)]
        first = panel.start // self.lanes if isinstance(panel.start, int) else tirx.floordiv(panel.start, self.lanes)
        for b, line in enumerate(sums):
            for total in line:
                bias = self.at.bias
                total.set(
                    splat(tirx.const(0.0, dtype), self.lanes)
                    if bias is None
                    else narrowed(load(bias, first + b, 0, lanes=self.lanes), dtype)
                )
        self._reduce(batch, row, panel, sums)
        for b, line in enumerate(sums):
            for i, total in enumerate(line):
                self._store(total, (*batch, row + i), panel.start + b * self.lanes, self._held(panel, b))

    def _held(self, panel: _Panel, b: int) -> int:
        """Lanes of a block that lie inside the matrix: fewer in the last block of the last panel."""
        rest = self.work.width % self.lanes
        blocks = -(-self.work.width // self.lanes)
        if not rest:
            return self.lanes
        last = isinstance(panel.start, int) and panel.start // self.lanes + b == blocks - 1
        return rest if last else self.lanes

    def _store(self, total: Register, row: Sequence[Expr | int], column: Expr | int, lanes: int) -> None:
        index, value = (*row, column), narrowed(load(total.buffer, 0, lanes=lanes), self.work.a.dtype)
        store(self.at.out, self.apply(value, index, lanes), *index, lanes=lanes)

    def _reduce(self, batch: Sequence[Expr | int], row: Expr | int, panel: _Panel, sums: Sums) -> None:
        place = aligned(batch, tuple(self.at.a.shape[:-2]))
        depth, dtype = self.work.depth, self.work.sums
        steps = _unrolled(depth, len(sums) * len(sums[0]), dtype)
        whole, rest = divmod(depth, steps)

        def step(k: Expr | int, sums: Sums) -> None:
            weights = [register(self.lanes, dtype) for _ in sums]
            for b, weight in enumerate(weights):
                value = load(panel.b, *panel.place, k, panel.first + b * self.lanes, lanes=self.lanes)
                weight.set(narrowed(value, dtype))
            for i in range(len(sums[0])):
                value = splat(narrowed(self.at.a[(*place, row + i, k)], dtype), self.lanes)
                for line, weight in zip(sums, weights, strict=True):
                    line[i].set(line[i].get() + value * weight.get())

        with self._runs(whole, steps, sums) as (part, some):
            for k in range(steps):
                step(part * steps + k, some)
        with run_of(sums) if rest and in_runs(dtype, depth) else nullcontext(sums) as some:
            for k in range(rest):
                step(whole * steps + k, some)

    @contextmanager
    def _runs(self, steps: int, products: int, sums: Sums) -> Iterator[tuple[Expr, Sums]]:
        """A loop over steps of the reduction, each of some products, and where it sums."""
        if not in_runs(self.work.sums, self.work.depth):
            with T.serial(0, steps) as step:
                yield step, sums
            return
        count, each = stretches(steps, products)
        with (
            T.serial(0, count) as stretch,
            run_of(sums) as some,
            T.serial(0, steps_of(stretch, each, steps)) as step,
        ):
            yield stretch * each + step, some


def _unrolled(depth: int, sums: int, dtype: str) -> int:
    """Steps of the reduction that are written out: so many that they divide it, where there are such."""
    most = max(1, min(depth, unrolled(_UNROLLED, dtype) // sums))
    return next((u for u in range(most, max(1, most // 3), -1) if depth % u == 0), most)


def aligned(batch: Sequence[Expr | int], dims: Sequence[Expr | int]) -> tuple[Expr | int, ...]:
    """The index of an operand whose leading dims broadcast against the batch."""
    kept = batch[len(batch) - len(dims) :]
    return tuple(0 if isinstance(d, (int, tirx.IntImm)) and int(d) == 1 else i for i, d in zip(kept, dims, strict=True))


def _last_stride(placed: Placed) -> int:
    return placed.strides[-1] if placed.strides else 1
