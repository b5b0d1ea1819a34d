"""Averages of bytes over windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import Placed
from effc.backends.tvm.schedules.finish import Apply, Finish
from effc.backends.tvm.schedules.integer.dot import as_type
from effc.backends.tvm.schedules.integer.window import Window
from effc.backends.tvm.schedules.nest import Arguments, Buffer, Expr, Kernel, kernel, load, register, splat, store


@dataclass(frozen=True)
class Average:
    """`scale * (sum of the window's pixels inside the image - count * zero) / number`.

    Attributes:
        x: bytes N, C, H, W, blocked.
        everything: whether `number` counts the pixels outside, too.
    """

    x: Placed
    zero: int
    scale: float
    window: Window
    everything: bool


def average_pool(work: Average, finish: Finish, lanes: int) -> Kernel:
    """The kernel; the output is in channel blocks, or (N, C) where it has no image left."""
    given = Arguments((work.x, *finish.inputs), finish.constants, (finish.output,))

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        apply = finish.bind(read[1:], held)
        _Nest(work, lanes, read[0], written[0], apply, finish.output).write()

    return kernel("integer_average", given, body)


@dataclass(frozen=True)
class _Nest:
    work: Average
    lanes: int
    x: Buffer
    y: Buffer
    apply: Apply
    output: Placed

    def write(self) -> None:
        """Batch, channel blocks and rows in parallel."""
        (height, width), blocks = self.work.window.size, self.work.x.blocks
        rest = int(self.work.x.shape[1]) % self.lanes if not self.output.block else 0
        with T.parallel(0, self.x.shape[0] * blocks * height) as task:
            n, block, row = task // (blocks * height), task // height % blocks, task % height
            with T.serial(0, width) as column:
                if rest:
                    with T.If(block < blocks - 1):
                        with T.Then():
                            self._pixel((n, block, row, column), self.lanes)
                        with T.Else():
                            self._pixel((n, block, row, column), rest)
                else:
                    self._pixel((n, block, row, column), self.lanes)

    def _pixel(self, place: tuple[Expr, Expr, Expr, Expr], lanes: int) -> None:
        n, block, row, column = place
        window, total = self.work.window, register(lanes, "int32")
        (first, last), (left, right) = window.clear_rows(row), window.clear_columns(column)
        total.set(splat(tirx.const(0, "int32"), lanes))
        with T.serial(first, last) as i, T.serial(left, right) as j:
            line, at = window.line(row, i), window.column(column, j)
            total.set(total.get() + T.cast(load(self.x, n, block, line, at, 0, lanes=lanes), as_type("int32", lanes)))
        count = (last - first) * (right - left)
        number = window.taps[0] * window.taps[1] if self.work.everything else count
        moved = T.cast(total.get() - splat(_int32(count) * self.work.zero, lanes), as_type("float32", lanes))
        factor = tirx.const(self.work.scale, "float32") / T.cast(_int32(number), "float32")
        target = self._target(place)
        store(self.y, self.apply(moved * splat(factor, lanes), target, lanes), *target, lanes=lanes)

    def _target(self, place: tuple[Expr, Expr, Expr, Expr]) -> tuple[Expr | int, ...]:
        n, block, row, column = place
        if self.output.block:
            return (n, block, row, column, 0)
        return (n, block * self.lanes) if len(self.output.shape) == 2 else (n, block * self.lanes, row, column)


def _int32(value: Expr | int) -> Expr:
    return tirx.const(value, "int32") if isinstance(value, int) else T.cast(value, "int32")
