"""Register tiles: how many output columns by how many channel blocks are summed at once."""

from __future__ import annotations

from dataclasses import dataclass

_LATENCY = 8
"""Multiply-adds that must be under way at once: four cycles on two ports."""
_WIDEST = 4
"""Channel blocks beyond this gain nothing: a broadcast value is already used four times."""


@dataclass(frozen=True)
class Tile:
    """`columns` x `blocks` accumulators."""

    columns: int
    blocks: int


def ranked(columns: int, blocks: int, registers: int) -> list[Tile]:
    """Tiles for a row of `columns` and `blocks` channel blocks, the best first.

    The cost of a tile counts, for each step of the reduction, its multiply-adds and its loads: one for each channel
    block's weights and one for each column's broadcast. Too few accumulators wait for their own latency.
    """
    spare = 3 if registers > 16 else 2
    found = [
        (_cost(columns, blocks, Tile(c, b)), -c * b, Tile(c, b))
        for b in range(1, min(_WIDEST if columns > 1 else 2 * _WIDEST, blocks) + 1)
        if blocks % b == 0
        for c in range(1, min(columns, 14) + 1)
        if c * b + b + spare <= registers
    ]
    return [tile for _, _, tile in sorted(found, key=lambda f: f[:2])]


def _cost(columns: int, blocks: int, tile: Tile) -> float:
    """Cycles for one step of the reduction over the whole row and all channel blocks."""
    full, rest = divmod(columns, tile.columns)
    passes = full * cycles(tile.columns, tile.blocks) + (cycles(rest, tile.blocks) if rest else 0.0)
    return passes * blocks / tile.blocks


def cycles(columns: int, blocks: int) -> float:
    """Cycles for one step of the reduction of a tile."""
    sums = columns * blocks
    return max(sums, _LATENCY) + 0.15 * (columns + blocks)
