"""Element-wise kernels and changes of layout: one pass over the output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import Dim, Placed
from effc.backends.tvm.schedules.finish import Finish
from effc.backends.tvm.schedules.nest import Arguments, Buffer, Expr, Kernel, kernel, load, store, unravel

_WIDE = 4
"""Vectors that one step computes, so that their latencies overlap."""


def elementwise(finish: Finish, lanes: int) -> Kernel:
    """The finish alone, over the output's rows."""
    given = Arguments(finish.inputs, finish.constants, (finish.output,))

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        apply = finish.bind(read, held)
        out = written[0]
        *outer, inner = out.shape
        with T.parallel(0, _product(outer)) as task:
            place = unravel(task, outer)

            def step(start: Expr | int, width: int) -> None:
                index = (*place, start)
                store(out, apply(tirx.const(0.0, "float32"), index, width), *index, lanes=width)

            over_row(int(inner), lanes, step)

    return kernel("elementwise", given, body)


def copy(source: Placed, target: Placed, lanes: int) -> Kernel:
    """A view's elements in the order of its own dims."""

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        del held
        x, out = read[0], written[0]
        *outer, inner = out.shape
        with T.parallel(0, _product(outer)) as task:
            place = unravel(task, outer)

            def step(start: Expr | int, width: int) -> None:
                store(out, load(x, *place, start, lanes=width), *place, start, lanes=width)

            over_row(int(inner), lanes, step)

    return kernel("copy", Arguments((source,), (), (target,)), body)


def over_row(inner: int, lanes: int, step: object) -> None:
    """Call `step(start, width)` for whole vectors along a row, then for what is left of it."""
    whole, rest = divmod(inner, lanes)
    if whole == 1:
        step(0, lanes)  # type: ignore[operator]
    elif whole:
        with T.serial(0, whole) as i:
            step(i * lanes, lanes)  # type: ignore[operator]
    if rest:
        step(whole * lanes, rest)  # type: ignore[operator]


def _product(dims: Sequence[Expr]) -> Expr | int:
    total: Expr | int = 1
    for dim in dims:
        total = total * dim
    return total


def transform(source: Placed, target: Placed) -> Kernel:
    """The same tensor in the other layout; lanes beyond the last channel become 0."""

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        del held
        (block_in, block_out) = (source, target)
        x, y = read[0], written[0]
        block = target.block or source.block
        channels = int(source.shape[1])
        spatial = [int(d) for d in source.shape[2:]]
        pixels = int(np.prod(spatial, dtype=np.int64))
        blocks = -(-channels // block)
        flat_rows = (source.shape[0], channels, pixels)
        flat_blocks = (source.shape[0], blocks, pixels, block)
        rows, tiles = (x, y) if target.block else (y, x)
        rows, tiles = _as(rows, flat_rows, source.dtype), _as(tiles, flat_blocks, source.dtype)
        with T.parallel(0, rows.shape[0] * blocks) as task:
            n, b = task // blocks, task % blocks
            with T.serial(0, pixels) as p:
                for lane in range(block):
                    _move(rows, tiles, (n, b, p, lane), channels, to_blocks=bool(target.block))
        del block_in, block_out

    return kernel("transform", Arguments((source,), (), (target,)), body)


def _move(rows: Buffer, tiles: Buffer, place: tuple[Expr, Expr, Expr, int], channels: int, *, to_blocks: bool) -> None:
    n, b, p, lane = place
    block = int(tiles.shape[3])
    channel = b * block + lane
    exact = channels % block == 0
    if to_blocks:
        value = rows[n, channel, p]
        zero = tirx.const(0, str(value.ty.dtype))
        T.buffer_store(tiles, value if exact else T.if_then_else(channel < channels, value, zero), [n, b, p, lane])
    elif exact:
        T.buffer_store(rows, tiles[n, b, p, lane], [n, channel, p])
    else:
        with T.If(channel < channels), T.Then():
            T.buffer_store(rows, tiles[n, b, p, lane], [n, channel, p])


def _as(buffer: Buffer, dims: Sequence[Dim], dtype: str) -> Buffer:
    known = [d if isinstance(d, int) else buffer.shape[0] for d in dims]
    return T.decl_buffer(known, dtype, data=buffer.data)


_ = load
