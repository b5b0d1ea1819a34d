"""Softmax and LogSoftmax along any axis: the largest value, the exponentials and their sum, the quotients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import Placed
from effc.backends.tvm.schedules import approx
from effc.backends.tvm.schedules.finish import Apply, Finish
from effc.backends.tvm.schedules.nest import (
    Arguments,
    Buffer,
    Expr,
    Kernel,
    held,
    kernel,
    load,
    narrowed,
    register,
    scratch,
    splat,
    store,
    tasks,
    total,
    unravel,
    widened,
)
from effc.backends.tvm.schedules.sweep import Row

_KEPT = 1 << 14
"""Exponentials of a row that are kept on the stack; those of a longer row are computed twice."""
_COST = 12
"""Vector operations for each element."""


@dataclass(frozen=True)
class Softmax:
    """`e^(x - max) / sum e^(x - max)` along `axis`, or its logarithm."""

    x: Placed
    axis: int
    log: bool = False


def softmax(work: Softmax, finish: Finish, lanes: int) -> Kernel:
    """The kernel: rows in parallel; where the axis is not the last, vectors of neighbouring rows."""
    given = Arguments((work.x, *finish.inputs), finish.constants, (finish.output,))

    def body(read: Sequence[Buffer], constants: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        nest = _Nest(work, read[0], written[0], finish.bind(read[1:], constants))
        if work.axis == len(work.x.shape) - 1:
            nest.along(lanes)
        else:
            nest.across(lanes)

    return kernel("softmax", given, body)


@dataclass(frozen=True)
class _Nest:
    work: Softmax
    x: Buffer
    out: Buffer
    apply: Apply

    def along(self, lanes: int) -> None:
        *outer, length = self.x.shape
        row = Row(int(length), lanes)
        with tasks(total(outer), total(outer, known=1) * int(length) * _COST // lanes) as task:
            self._row(unravel(task, outer), row)

    def _row(self, place: Sequence[Expr], row: Row) -> None:
        kept = scratch((row.length,), "float32") if row.length <= _KEPT and not self.work.log else None
        low = tirx.min_value("float32")
        top = row.fold(low, lambda i, n: self._read((*place, i), n), T.max)

        def exponential(start: Expr | int, lanes: int) -> Expr:
            value = held(approx.exp(self._read((*place, start), lanes) - splat(top.get(), lanes))).get()
            if kept is not None:
                store(kept, value, start, lanes=lanes)
            return value

        whole = row.fold(tirx.const(0.0, "float32"), exponential, lambda a, b: a + b)
        scale = held(_factor(whole.get(), top.get(), log=self.work.log))

        def quotient(start: Expr | int, lanes: int, way: int) -> None:
            del way
            if self.work.log:
                value = self._read((*place, start), lanes) - splat(scale.get(), lanes)
            else:
                above = load(kept, start, lanes=lanes) if kept is not None else exponential(start, lanes)
                value = above * splat(scale.get(), lanes)
            self._write(value, (*place, start), lanes)

        row.sweep(quotient)

    def across(self, lanes: int) -> None:
        axis, last = self.work.axis, int(self.x.shape[-1])
        outer = [*self.x.shape[:axis], *self.x.shape[axis + 1 : -1], -(-last // lanes)]
        with tasks(total(outer), total(outer, known=1) * int(self.x.shape[axis]) * _COST) as task:
            *place, chunk = unravel(task, outer)
            whole, rest = divmod(last, lanes)
            if not rest:
                self._column(place, chunk * lanes, lanes)
                return
            if whole:
                with T.If(chunk < whole):
                    with T.Then():
                        self._column(place, chunk * lanes, lanes)
                    with T.Else():
                        self._column(place, whole * lanes, rest)
                return
            self._column(place, 0, rest)

    def _column(self, place: Sequence[Expr], start: Expr | int, lanes: int) -> None:
        axis, length = self.work.axis, self.x.shape[self.work.axis]
        top, whole = register(lanes), register(lanes)
        top.set(splat(tirx.min_value("float32"), lanes))
        whole.set(splat(tirx.const(0.0, "float32"), lanes))

        def at(i: Expr) -> tuple[Expr | int, ...]:
            return (*place[:axis], i, *place[axis:], start)

        with T.serial(0, length) as i:
            top.set(T.max(top.get(), self._read(at(i), lanes)))
        with T.serial(0, length) as i:
            whole.set(whole.get() + approx.exp(self._read(at(i), lanes) - top.get()))
        scale = held(_factor(whole.get(), top.get(), log=self.work.log))
        with T.serial(0, length) as i:
            x = self._read(at(i), lanes)
            value = x - scale.get() if self.work.log else approx.exp(x - top.get()) * scale.get()
            self._write(value, at(i), lanes)

    def _read(self, place: Sequence[Expr | int], lanes: int) -> Expr:
        return widened(load(self.x, *place, lanes=lanes))

    def _write(self, value: Expr, place: Sequence[Expr | int], lanes: int) -> None:
        result = self.apply(narrowed(value, self.work.x.dtype), place, lanes)
        store(self.out, result, *place, lanes=lanes)


def _factor(whole: Expr, top: Expr, *, log: bool) -> Expr:
    """What an exponential is multiplied by, or the logarithm of what it is divided by."""
    return top + approx.log(whole) if log else 1.0 / whole
