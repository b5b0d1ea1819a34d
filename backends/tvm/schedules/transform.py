"""Changes of layout between rows and channel blocks: squares of pixels and channels are transposed in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import Placed
from effc.backends.tvm.schedules.nest import (
    Arguments,
    Buffer,
    Expr,
    Kernel,
    kernel,
    load,
    register,
    splat,
    store,
    tasks,
    transposed,
)

_SQUARES = 16
"""Squares of one task."""


def transform(source: Placed, target: Placed) -> Kernel:
    """The same tensor in the other layout; lanes beyond the last channel become 0."""
    channels, block = int(source.shape[1]), target.block or source.block
    pixels = int(np.prod([int(d) for d in source.shape[2:]], dtype=np.int64))

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        del held
        rows, tiles = (read[0], written[0]) if target.block else (written[0], read[0])
        batch, dtype = rows.shape[0], source.dtype
        rows = T.decl_buffer((batch, channels, pixels), dtype, data=rows.data)
        tiles = T.decl_buffer((batch, -(-channels // block), pixels, block), dtype, data=tiles.data)
        _Nest(rows, tiles, bool(target.block)).write()

    return kernel("transform", Arguments((source,), (), (target,)), body)


@dataclass(frozen=True)
class _Nest:
    rows: Buffer
    tiles: Buffer
    to_blocks: bool

    def write(self) -> None:
        """Batch, channel blocks and stretches of pixels in parallel."""
        batch, blocks, pixels, lanes = self.tiles.shape
        channels = int(self.rows.shape[1])
        stretch = _SQUARES * int(lanes)
        chunks = max(1, int(pixels) // stretch)
        with tasks(batch * blocks * chunks, channels * int(pixels) // 2) as task:
            n, block, chunk = task // (blocks * chunks), task // chunks % blocks, task % chunks
            whole = channels // int(lanes)
            end = T.if_then_else(chunk == chunks - 1, pixels, (chunk + 1) * stretch) if chunks > 1 else pixels
            if not channels % int(lanes):
                self._stretch((n, block), int(lanes), chunk * stretch, end)
            elif not whole:
                self._stretch((n, block), channels, chunk * stretch, end)
            else:
                with T.If(block < whole):
                    with T.Then():
                        self._stretch((n, block), int(lanes), chunk * stretch, end)
                    with T.Else():
                        self._stretch((n, block), channels % int(lanes), chunk * stretch, end)

    def _stretch(self, place: tuple[Expr, Expr], channels: int, start: Expr, end: Expr) -> None:
        """Pixels `start` ... `end` of one block, of which `channels` lanes are channels."""
        lanes = int(self.tiles.shape[3])
        squares = (end - start) // lanes
        with T.serial(0, squares) as i:
            self._square(place, channels, start + i * lanes)
        with T.serial(start + squares * lanes, end) as pixel:
            self._pixel(place, channels, pixel)

    def _square(self, place: tuple[Expr, Expr], channels: int, pixel: Expr) -> None:
        (n, block), lanes, dtype = place, int(self.tiles.shape[3]), str(self.rows.dtype)
        square = [register(lanes, dtype) for _ in range(lanes)]
        for i, line in enumerate(square):
            zero = splat(tirx.const(0, dtype), lanes)
            if self.to_blocks:
                given = load(self.rows, n, block * lanes + i, pixel, lanes=lanes) if i < channels else zero
            else:
                given = load(self.tiles, n, block, pixel + i, 0, lanes=lanes)
            line.set(given)
        transposed(square)
        for i, line in enumerate(square):
            if self.to_blocks:
                store(self.tiles, line.get(), n, block, pixel + i, 0, lanes=lanes)
            elif i < channels:
                store(self.rows, line.get(), n, block * lanes + i, pixel, lanes=lanes)

    def _pixel(self, place: tuple[Expr, Expr], channels: int, pixel: Expr) -> None:
        (n, block), lanes = place, int(self.tiles.shape[3])
        for i in range(lanes if self.to_blocks else channels):
            channel = block * lanes + i
            if not self.to_blocks:
                T.buffer_store(self.rows, self.tiles[n, block, pixel, i], [n, channel, pixel])
            elif i < channels:
                T.buffer_store(self.tiles, self.rows[n, channel, pixel], [n, block, pixel, i])
            else:
                T.buffer_store(self.tiles, tirx.const(0, str(self.rows.dtype)), [n, block, pixel, i])
