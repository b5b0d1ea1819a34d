"""Convolution by ARM's `smmla`: two pixels by eight bytes, times eight bytes by two outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import pack
from effc.backends.tvm.schedules.integer.conv import Convolution, Nest, Place, real
from effc.backends.tvm.schedules.integer.dot import WORD
from effc.backends.tvm.schedules.nest import Expr, Register, load, register, store
from effc.backends.tvm.schedules.tiles import Tile
from effc.compiler.ir import Array

_LANES = 4
_BYTES = 16
_PRODUCT = "llvm.aarch64.neon.smmla.v4i32.v16i8"
Sums = list[list[tuple[Register, Register]]]
"""By block of four outputs and pair of pixels: a register for outputs 0 and 1, and one for 2 and 3, of both pixels."""


def packed(work: Convolution, tile: Tile) -> Array:
    """Weights as (blocks / tile, pairs of input blocks, KH, KW, 1, tile, 32): eight bytes for each of four outputs."""
    if work.x.block:
        words = pack(work.weight, WORD, axis=1)[:, :, :, :, None]  # O, ib, KH, KW, 1, 4
        eights = _paired(words, axis=1)
    else:
        rows = np.moveaxis(pack(work.weight, WORD, axis=3), 1, 3)[:, None]  # O, 1, KH, KW / 4, C, 4
        eights = _paired(rows, axis=4)
    outputs = np.pad(eights, [(0, -eights.shape[0] % _LANES)] + [(0, 0)] * 5)
    blocks = np.moveaxis(outputs.reshape(-1, _LANES, *outputs.shape[1:]), 1, -2)  # ob, .., 4, 8
    laid = blocks.reshape(-1, tile.blocks, *blocks.shape[1:-2], 2 * _BYTES)
    return np.ascontiguousarray(np.moveaxis(laid, 1, 5))


def _paired(words: Array, axis: int) -> Array:
    """Neighbours along an axis side by side in the last one; behind an odd one, zeros."""
    widths = [(0, words.shape[axis] % 2 if i == axis else 0) for i in range(words.ndim)]
    full = np.pad(words, widths)
    even, odd = (np.take(full, range(i, full.shape[axis], 2), axis) for i in range(2))
    return np.concatenate([even, odd], axis=-1)


@dataclass(frozen=True)
class MatrixNest(Nest):
    """The same loops around tiles of pairs."""

    def _tile(self, place: Place, column: Expr | int, width: int) -> None:
        n, group, row = place
        above, below = self.work.window.rows(row)
        sums: Sums = []
        for b in range(self.tile.blocks):
            first = load(self.at.table, above, below, group * self.tile.blocks + b, 0, lanes=_LANES)
            sums.append([(_register(first, (0, 1, 0, 1)), _register(first, (2, 3, 2, 3))) for _ in range(0, width, 2)])
        self._pairs(place, column, width, sums)
        for b, line in enumerate(sums):
            block = group * self.tile.blocks + b
            for i in range(width):
                low, high = line[i // 2]
                total = T.Shuffle([low.get(), high.get()], (0, 1, 4, 5) if i % 2 == 0 else (2, 3, 6, 7))
                target = (n, block, row, column + i, 0)
                store(self.at.y, self.apply(real(total, self.at, block), target, _LANES), *target, lanes=_LANES)

    def _pairs(self, place: Place, column: Expr | int, width: int, sums: Sums) -> None:
        n, group, row = place
        _, outer, high, wide, inner, _, _ = (int(d) for d in self.at.w.shape)
        above, below = self.work.window.rows(row)
        with T.serial(0, outer) as block, T.serial(above, high - below) as i:
            for word in range(inner):
                for j in range(wide):
                    for pair in range(-(-width // 2)):
                        pixels = [column + min(2 * pair + p, width - 1) for p in range(2)]
                        value = self._pixels(
                            (n, self.origin(group) + 2 * block, self.work.window.line(row, i)), pixels, j, word
                        )
                        for b, line in enumerate(sums):
                            for half, total in enumerate(line[pair]):
                                weight = load(self.at.w, group, block, i, j, word, b, half * _BYTES, lanes=_BYTES)
                                total.set(T.call_llvm_pure_intrin("int32x4", _PRODUCT, total.get(), value, weight))

    def _pixels(self, line: tuple[Expr, Expr, Expr], columns: list[Expr | int], tap: int, word: int) -> Expr:
        """Eight bytes of each of two pixels; what lies behind the last channels is multiplied by zeros."""
        n, block, row = line
        if self.work.x.block:
            last = self.work.x.blocks - 1
            places = [((n, block, row), 0), ((n, T.min(block + 1, last), row), 0)]
        else:
            last = int(self.work.x.shape[1]) - 1
            places = [(line, 2 * word), (line, min(2 * word + 1, last))]
        words = [self._input(at, column, tap, k) for column in columns for at, k in places]
        return T.reinterpret("int8x16", T.Shuffle(words, (0, 1, 2, 3)))


def _register(value: Expr, order: tuple[int, ...]) -> Register:
    made = register(_LANES, "int32")
    made.set(T.Shuffle([value], order))
    return made
