"""Windows that slide over each channel on its own: depthwise convolution, maximum and average pooling."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

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
    register,
    repeated,
    splat,
    store,
    tasks,
    widest,
)
from effc.backends.tvm.schedules.window import Axis, Position, even, walk
from effc.compiler.ir import Array

_WIDEST = 14
"""Windows side by side, beyond which nothing is gained."""


@dataclass(frozen=True)
class Sliding:
    """An image in channel blocks and the windows over it.

    Attributes:
        x: N, C, H, W, blocked.
        rows, columns: how the windows move.
        multiple: output channels for each input channel; it divides the block.
    """

    x: Placed
    rows: Axis
    columns: Axis
    multiple: int = 1


Tap = tuple[Expr, Expr | int, int]
"""Channel block, row and column in the window."""


@dataclass(frozen=True)
class Rule(ABC):
    """What a window does with what it sees."""

    dtype: str
    lanes: int
    name: ClassVar[str]

    @property
    def constants(self) -> tuple[Array, ...]:
        """What it reads beside the image."""
        return ()

    @property
    def summed_in(self) -> str:
        """The type of a result before its end."""
        return self.dtype

    @abstractmethod
    def begin(self, held: Sequence[Buffer], block: Expr) -> Expr:
        """The result before the first value, for a channel block."""

    @abstractmethod
    def add(self, total: Expr, value: Expr, tap: Tap, held: Sequence[Buffer]) -> Expr:
        """The result with the value under a tap."""

    def end(self, total: Expr, taps: tuple[Expr | int, int]) -> Expr:
        """The output, given how many taps counted in height and width."""
        del taps
        return total


@dataclass(frozen=True)
class Depthwise(Rule):
    """`bias[c] + sum over i, j of weight[c, i, j] * value`.

    Attributes:
        weight: blocks, KH, KW, lanes.
        bias: blocks, lanes.
    """

    weight: Array
    bias: Array
    name = "depthwise"

    @property
    def constants(self) -> tuple[Array, ...]:
        """Weights, bias."""
        return self.weight, self.bias

    def begin(self, held: Sequence[Buffer], block: Expr) -> Expr:
        """The bias."""
        return load(held[1], block, 0, lanes=self.lanes)

    def add(self, total: Expr, value: Expr, tap: Tap, held: Sequence[Buffer]) -> Expr:
        """Multiply and add."""
        return total + value * load(held[0], *tap, 0, lanes=self.lanes)


def depthwise(weight: Array, bias: Array, dtype: str, lanes: int) -> Depthwise:
    """Of weights (C, KH, KW) and bias (C), in the image's type."""
    return Depthwise(dtype, lanes, pack(weight.astype(dtype), lanes), pack(bias.astype(dtype), lanes))


@dataclass(frozen=True)
class Maximum(Rule):
    """The largest value; the type's least where there is none."""

    name = "maximum"

    def begin(self, held: Sequence[Buffer], block: Expr) -> Expr:
        """The least value."""
        del held, block
        least = tirx.const(float("-inf"), self.dtype) if "float" in self.dtype else tirx.min_value(self.dtype)
        return splat(least, self.lanes)

    def add(self, total: Expr, value: Expr, tap: Tap, held: Sequence[Buffer]) -> Expr:
        """The larger one."""
        del tap, held
        return T.max(value, total)


@dataclass(frozen=True)
class Average(Rule):
    """The mean of the taps that count: those on the image, or those on the image with its padding.

    Attributes:
        rows, columns: how the windows move.
        after: padding behind the image, vertical and horizontal, where padding counts.
    """

    rows: Axis
    columns: Axis
    after: tuple[int, int] | None
    name = "average"

    @property
    def summed_in(self) -> str:
        """Many values are summed."""
        return widest(self.dtype)

    def begin(self, held: Sequence[Buffer], block: Expr) -> Expr:
        """Zero."""
        del held, block
        return splat(tirx.const(0.0, self.summed_in), self.lanes)

    def add(self, total: Expr, value: Expr, tap: Tap, held: Sequence[Buffer]) -> Expr:
        """The sum."""
        del tap, held
        return total + narrowed(value, self.summed_in)

    def end(self, total: Expr, taps: tuple[Expr | int, int]) -> Expr:
        """`sum / count`."""
        high, across = taps
        if isinstance(high, int):
            share = tirx.const(1.0 / max(1, high * across), self.summed_in)
        else:
            share = tirx.const(1.0, self.summed_in) / T.cast(T.max(high, 1) * max(1, across), self.summed_in)
        return narrowed(total * splat(share, self.lanes), self.dtype)

    def counts(self, row: Position, column: Position, offset: int) -> tuple[Expr | int, int]:
        """How many taps of a window count, in height and width."""
        below, behind = self.after or (None, None)
        high = self.rows.taps if self.rows.whole(below) else self.rows.within(row, below)
        wide = self.columns.counted(column + offset, behind) if isinstance(column, int) else self.columns.taps
        return high if isinstance(high, int) else high[1] - high[0], wide


def slide(work: Sliding, rule: Rule, finish: Finish, registers: int) -> Kernel:
    """The kernel: rows of windows in parallel, a tile of neighbouring ones in registers."""
    seen = finish.image()
    given = Arguments((work.x, *finish.inputs), (*rule.constants, *seen.constants), (finish.output,))
    own = len(rule.constants)
    spare = work.columns.taps + 2 if own else 3
    width = even(work.columns.size, max(1, min(_WIDEST, registers - spare)))

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        apply = seen.bind(read[1:], held[own:])
        _Nest(work, rule, read[0], held[:own], written[0], apply).write(width)

    return kernel(rule.name, given, body, seen=Placed.image)


@dataclass(frozen=True)
class _Nest:
    work: Sliding
    rule: Rule
    x: Buffer
    held: Sequence[Buffer]
    y: Buffer
    apply: Apply

    def write(self, width: int) -> None:
        """Batch, channel blocks and rows in parallel."""
        work, (blocks, high) = self.work, (int(self.y.shape[1]), self.work.rows.size)
        operations = blocks * high * work.columns.size * work.rows.taps * work.columns.taps
        with tasks(self.x.shape[0] * blocks * high, operations) as task:
            place = (task // (blocks * high), task // high % blocks, task % high)
            for column, count in walk(work.columns, width):
                self._tile(place, column, count)

    def _tile(self, place: tuple[Expr, Expr, Expr], column: Position, count: int) -> None:
        n, block, row = place
        results = [register(self.rule.lanes, self.rule.summed_in) for _ in range(count)]
        for result in results:
            result.set(self.rule.begin(self.held, block))
        first, last = self.work.rows.existing(row)
        with T.serial(first, last) as i:
            self._row(place, i, column, results)
        for c, result in enumerate(results):
            to = (n, block, row, column + c, 0)
            counts = self.rule.counts(row, column, c) if isinstance(self.rule, Average) else (1, 1)
            store(
                self.y, self.apply(self.rule.end(result.get(), counts), to, self.rule.lanes), *to, lanes=self.rule.lanes
            )

    def _row(self, place: tuple[Expr, Expr, Expr], i: Expr, column: Position, results: Sequence[Register]) -> None:
        """One row of taps: each input is loaded once for all windows that it is in."""
        (n, block, row), columns = place, self.work.columns
        hits: dict[int, list[tuple[int, int]]] = {}
        for c in range(len(results)):
            for j in range(columns.taps):
                if columns.hits(column, c, j):
                    hits.setdefault(c * columns.stride + j * columns.dilation, []).append((c, j))
        line = self.work.rows.reads(row, i)
        for offset, users in sorted(hits.items()):
            value = self._input(n, block, line, columns.reads(column, 0) + offset)
            for c, j in users:
                results[c].set(self.rule.add(results[c].get(), value, (block, i, j), self.held))

    def _input(self, n: Expr, block: Expr, row: Expr, column: Position) -> Expr:
        """The channels of an input pixel that an output block is made of."""
        many, lanes = self.work.multiple, self.rule.lanes
        if many == 1:
            return load(self.x, n, block, row, column, 0, lanes=lanes)
        few = lanes // many
        return repeated(load(self.x, n, block // many, row, column, block % many * few, lanes=few), many)
