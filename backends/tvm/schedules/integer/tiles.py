"""Register tiles of integer kernels."""

from __future__ import annotations

from effc.backends.tvm.schedules.tiles import Tile

_WIDEST = 7
"""Vectors of outputs side by side."""
_MOST = 20
"""Sums of which LLVM spills none, of 32 registers; 8 of 16."""
_LATENCY = 4
"""Cycles until a sum can be added to again."""


def ranked(columns: int, blocks: int, registers: int) -> list[Tile]:
    """Tiles for a row of `columns` and `blocks` vectors of outputs, the best first."""
    most = _MOST if registers > 16 else 8
    found = {
        Tile(_even(columns, most // b), b)
        for b in range(1, min(_WIDEST if columns > 1 else 2 * _WIDEST, blocks, most) + 1)
        if blocks % b == 0
    }
    found |= {Tile(c, t.blocks) for t in found for c in range(max(1, t.columns - 2), t.columns)}
    return sorted(found, key=lambda t: (_cost(columns, blocks, t), -t.columns * t.blocks))


def _even(columns: int, most: int) -> int:
    """As few tiles as possible, then as even as possible."""
    return -(-columns // -(-columns // max(1, most)))


def _cost(columns: int, blocks: int, tile: Tile) -> float:
    """Cycles for one step of the reduction over the whole row and all outputs."""
    full, rest = divmod(columns, tile.columns)
    passes = full * _cycles(tile.columns, tile.blocks) + (_cycles(rest, tile.blocks) if rest else 0.0)
    return passes * blocks / tile.blocks


def _cycles(columns: int, blocks: int) -> float:
    """A product a cycle; a vector of weights or two broadcast words loaded beside each."""
    return max(columns * blocks, _LATENCY, blocks + columns / 2) + 0.1 * (columns + blocks)
