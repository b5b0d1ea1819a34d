"""Product of rows of bytes and a constant matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import Placed, pack
from effc.backends.tvm.schedules.finish import Apply, Finish
from effc.backends.tvm.schedules.integer.dot import WORD, Dot
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
from effc.backends.tvm.schedules.tiles import Tile
from effc.compiler.ir import Array

_UNROLLED = 64
"""Dot products in the innermost loop's body."""


@dataclass(frozen=True)
class Product:
    """`scale[o] * sum over k of (x[.., m, k] - zero) * w[k, o] + bias[o]`.

    Attributes:
        x: bytes (.., M, K), row-major.
        weight: int8 (K, O).
        scale: x's scale times the weights', O.
        bias: O.
    """

    x: Placed
    zero: int
    weight: Array
    scale: Array
    bias: Array

    @property
    def words(self) -> str:
        """The workload, for a database."""
        return f"product {self.x.dtype} {self.rows} * {'x'.join(map(str, self.weight.shape))}"

    @property
    def rows(self) -> int | None:
        """M where it is known."""
        dim = self.x.shape[-2]
        return dim if isinstance(dim, int) else None


def product(work: Product, finish: Finish, tile: Tile, dot: Dot, lanes: int) -> Kernel:
    """The kernel: `tile.columns` rows by `tile.blocks` vectors of outputs at once."""
    zero = dot.zero(work.zero, work.x.dtype)
    first = (-zero * work.weight.astype(np.int64).sum(axis=0)).astype(np.int32)
    factors = (pack(first, lanes), pack(work.scale, lanes), pack(work.bias, lanes))
    constants = (_packed(work.weight, tile, dot, lanes), *factors, *finish.constants)
    given = Arguments((work.x, *finish.inputs), constants, (finish.output,))

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        buffers = Buffers(read[0], held[0], (held[1], held[2], held[3]), written[0])
        _Nest(work, tile, dot, lanes, buffers, finish.bind(read[1:], held[4:])).write()

    return kernel("integer_product", given, body)


def _packed(weight: Array, tile: Tile, dot: Dot, lanes: int) -> Array:
    """Weights as (blocks / tile, words, tile, bytes of one dot product)."""
    words = pack(weight.T, WORD, axis=1)  # O, words, 4
    laid = dot.order(pack(words, lanes))  # ob, words, bytes
    grouped = laid.reshape(-1, tile.blocks, *laid.shape[1:])
    return np.ascontiguousarray(np.moveaxis(grouped, 1, 2))


@dataclass(frozen=True)
class Buffers:
    """Input, packed weights, (first sums, scales, biases), output."""

    x: Buffer
    w: Buffer
    factors: tuple[Buffer, Buffer, Buffer]
    y: Buffer


@dataclass(frozen=True)
class _Nest:
    work: Product
    tile: Tile
    dot: Dot
    lanes: int
    at: Buffers
    apply: Apply

    def write(self) -> None:
        """Leading dims, groups of output vectors and tiles of rows in parallel."""
        *leading, rows, _ = self.at.x.shape
        count = self.tile.columns
        groups, whole = int(self.at.w.shape[0]), rows // count
        before: Expr | int = 1
        for dim in leading:
            before = before * dim
        with T.parallel(0, before * groups) as task:
            place = _unravel(task // groups, leading)
            with T.serial(0, whole) as step:
                self._group((*place, step * count), task % groups, count)
            if self.work.rows is not None and self.work.rows % count:
                self._group((*place, whole * count), task % groups, self.work.rows % count)

    def _group(self, place: tuple[Expr, ...], group: Expr, rows: int) -> None:
        """The last group holds the vector that may be shorter."""
        groups, rest = int(self.at.w.shape[0]), self.work.weight.shape[1] % self.lanes
        missing = -(-self.work.weight.shape[1] // self.lanes) < groups * self.tile.blocks
        assert not missing
        if not rest:
            self._tile(place, group, rows, self.lanes)
        elif groups == 1:
            self._tile(place, 0, rows, rest)
        else:
            with T.If(group < groups - 1):
                with T.Then():
                    self._tile(place, group, rows, self.lanes)
                with T.Else():
                    self._tile(place, groups - 1, rows, rest)

    def _tile(self, place: tuple[Expr, ...], group: Expr | int, rows: int, last: int) -> None:
        lanes, blocks = self.lanes, self.tile.blocks
        sums = [[register(lanes, "int32") for _ in range(rows)] for _ in range(blocks)]
        for b, line in enumerate(sums):
            for total in line:
                total.set(load(self.at.factors[0], group * blocks + b, 0, lanes=lanes))
        self._reduce(place, group, sums)
        for b, line in enumerate(sums):
            width = last if b == blocks - 1 else lanes
            for i, total in enumerate(line):
                target = (*place[:-1], place[-1] + i, (group * blocks + b) * lanes)
                value = self._real(total, group * blocks + b, width)
                store(self.at.y, self.apply(value, target, width), *target, lanes=width)

    def _real(self, total: Register, block: Expr | int, lanes: int) -> Expr:
        held = load(total.buffer, 0, lanes=lanes)
        scale, bias = (load(factor, block, 0, lanes=lanes) for factor in self.at.factors[1:])
        return T.cast(held, f"float32x{lanes}" if lanes > 1 else "float32") * scale + bias

    def _reduce(self, place: tuple[Expr, ...], group: Expr | int, sums: list[list[Register]]) -> None:
        whole = self.work.weight.shape[0] // WORD
        unrolled = max(1, _UNROLLED // (len(sums) * len(sums[0])))
        rounds, rest = divmod(whole, unrolled)
        if rounds:
            with T.serial(0, rounds) as part:
                for k in range(unrolled):
                    self._step(place, group, part * unrolled + k, sums)
        for k in range(rest):
            self._step(place, group, rounds * unrolled + k, sums)
        if self.work.weight.shape[0] % WORD:
            self._step(place, group, whole, sums)

    def _step(self, place: tuple[Expr, ...], group: Expr | int, word: Expr | int, sums: list[list[Register]]) -> None:
        size = int(self.at.w.shape[3])
        for i in range(len(sums[0])):
            value = splat(self._word((*place[:-1], place[-1] + i), word), self.lanes)
            for b, line in enumerate(sums):
                weight = load(self.at.w, group, word, b, 0, lanes=size)
                line[i].set(self.dot.step(line[i].get(), value, weight, self.lanes))

    def _word(self, place: tuple[Expr, ...], word: Expr | int) -> Expr:
        """Four bytes of a row; of its last ones, as many as there are."""
        inner = self.work.weight.shape[0]
        if not isinstance(word, int) or (word + 1) * WORD <= inner:
            return self.dot.word(self.at.x, *place, word * WORD)
        found: Expr = tirx.const(0, "int32")
        for i in range(inner - word * WORD):
            byte = self.dot.byte(self.at.x[(*place, word * WORD + i)])
            found = T.bitwise_or(found, T.shift_left(byte, tirx.const(8 * i, "int32")))
        return found


def _unravel(task: Expr, dims: Sequence[Expr]) -> tuple[Expr, ...]:
    """The index whose row-major position is `task`."""
    place: list[Expr] = []
    for i, dim in enumerate(reversed(dims)):
        place.insert(0, task % dim if i < len(dims) - 1 else task)
        task = task // dim
    return tuple(place)
