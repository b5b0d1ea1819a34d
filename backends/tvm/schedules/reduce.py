"""Reductions of row-major tensors over any axes, ArgMax and ArgMin."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
    number,
    register,
    splat,
    store,
    tasks,
    total,
    unravel,
)
from effc.backends.tvm.schedules.sweep import Combine, Row


def _add(a: Expr, b: Expr) -> Expr:
    return a + b


def _itself(x: Expr) -> Expr:
    return x


def _square(x: Expr) -> Expr:
    kept = held(x).get()
    return kept * kept


def _size(x: Expr) -> Expr:
    return T.fabs(x) if str(x.ty.dtype).startswith("float") else T.Select(x < number(0, x), number(0, x) - x, x)


@dataclass(frozen=True)
class Kind:
    """`after(combine over all before(x))`, beginning with `identity`: a number, or "lowest" or "highest"."""

    identity: float | str = 0
    before: Callable[[Expr], Expr] = _itself
    combine: Combine = _add
    after: Callable[[Expr], Expr] = _itself


KINDS = {
    "ReduceSum": Kind(),
    "ReduceMean": Kind(),
    "ReduceMax": Kind("lowest", combine=T.max),
    "ReduceMin": Kind("highest", combine=T.min),
    "ReduceProd": Kind(1, combine=lambda a, b: a * b),
    "ReduceL1": Kind(before=_size),
    "ReduceL2": Kind(before=_square, after=T.sqrt),
    "ReduceSumSquare": Kind(before=_square),
    "ReduceLogSum": Kind(after=approx.log),
}


@dataclass(frozen=True)
class Reduction:
    """`op` over `axes` of x, ascending; `keepdims` as ONNX has it."""

    op: str
    x: Placed
    axes: tuple[int, ...]
    keepdims: bool

    @property
    def count(self) -> int:
        """How many elements come to one."""
        return math.prod(int(self.x.shape[a]) for a in self.axes)

    @property
    def dtype(self) -> str:
        """What is summed in."""
        return "float32" if self.x.dtype == "float16" else self.x.dtype

    @property
    def kept(self) -> tuple[int, ...]:
        """The axes that stay."""
        return tuple(a for a in range(len(self.x.shape)) if a not in self.axes)

    def identity(self) -> Expr:
        """What the combination begins with."""
        start = KINDS[self.op].identity
        if isinstance(start, str):
            return tirx.min_value(self.dtype) if start == "lowest" else tirx.max_value(self.dtype)
        return tirx.const(start, self.dtype)

    def finished(self, value: Expr) -> Expr:
        """The result from what was combined."""
        result = KINDS[self.op].after(value)
        result = result * number(1 / self.count, result) if self.op == "ReduceMean" else result
        return narrowed(result, self.x.dtype)

    def target(self, kept: Sequence[Expr | int]) -> tuple[Expr | int, ...]:
        """The place in the output of a place along the kept axes."""
        if not self.keepdims:
            return tuple(kept)
        places = dict(zip(self.kept, kept, strict=True))
        return tuple(places.get(a, 0) for a in range(len(self.x.shape)))

    def source(self, kept: Sequence[Expr | int], reduced: Sequence[Expr | int]) -> tuple[Expr | int, ...]:
        """The place in the input."""
        places = dict(zip((*self.kept, *self.axes), (*kept, *reduced), strict=True))
        return tuple(places[a] for a in range(len(self.x.shape)))


def reduction(work: Reduction, finish: Finish, lanes: int) -> Kernel:
    """The kernel: outputs in parallel; vectors along the last axis, whether it is reduced or kept."""
    given = Arguments((work.x, *finish.inputs), finish.constants, (finish.output,))

    def body(read: Sequence[Buffer], constants: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        nest = _Nest(work, read[0], written[0], finish.bind(read[1:], constants), lanes)
        if work.axes[-1] == len(work.x.shape) - 1:
            nest.along()
        else:
            nest.across()

    return kernel("reduction", given, body)


@dataclass(frozen=True)
class _Nest:
    work: Reduction
    x: Buffer
    out: Buffer
    apply: Apply
    lanes: int

    def along(self) -> None:
        """The last axis is reduced: a vector's lanes come together at the end."""
        kind, kept = KINDS[self.work.op], [self.x.shape[a] for a in self.work.kept]
        row = Row(int(self.x.shape[-1]), self.lanes)
        with tasks(total(kept), total(kept, known=1) * self.work.count // self.lanes) as task:
            place = unravel(task, kept)
            whole = held(self.work.identity())
            with self._reduced(self.work.axes[:-1]) as reduced:

                def value(start: Expr | int, lanes: int) -> Expr:
                    return kind.before(self._read(self.work.source(place, (*reduced, start)), lanes))

                whole.set(kind.combine(whole.get(), row.fold(self.work.identity(), value, kind.combine).get()))
            self._store(place, self.work.finished(whole.get()), 1)

    def across(self) -> None:
        """The last axis is kept: each lane is an output of its own."""
        *outer, last = [self.x.shape[a] for a in self.work.kept]
        whole, rest = divmod(int(last), self.lanes)
        for count, width, start in ((whole, self.lanes, 0), (int(rest > 0), rest, whole * self.lanes)):
            if count:
                every = [*outer, count]
                with tasks(total(every), total(every, known=1) * self.work.count) as task:
                    *place, chunk = unravel(task, every)
                    column = start if count == 1 else start + chunk * width
                    self._column((*place, column), width)

    def _column(self, place: Sequence[Expr | int], lanes: int) -> None:
        kind = KINDS[self.work.op]
        whole = register(lanes, self.work.dtype)
        whole.set(splat(self.work.identity(), lanes))
        with self._reduced(self.work.axes) as reduced:
            value = kind.before(self._read(self.work.source(place, reduced), lanes))
            whole.set(kind.combine(whole.get(), value))
        self._store(place, self.work.finished(whole.get()), lanes)

    @contextmanager
    def _reduced(self, axes: Sequence[int]) -> Iterator[list[Expr]]:
        """Loops over reduced axes."""
        if not axes:
            yield []
            return
        with T.grid(*(self.x.shape[a] for a in axes)) as found:
            yield [found] if len(axes) == 1 and not isinstance(found, (list, tuple)) else list(found)

    def _read(self, place: Sequence[Expr | int], lanes: int) -> Expr:
        return narrowed(load(self.x, *place, lanes=lanes), self.work.dtype)

    def _store(self, place: Sequence[Expr | int], value: Expr, lanes: int) -> None:
        index = self.work.target(place)
        store(self.out, self.apply(value, index, lanes), *index, lanes=lanes)


@dataclass(frozen=True)
class Extreme:
    """The place along `axis` of the largest (or smallest) value; the first or the last of equal ones."""

    x: Placed
    axis: int
    keepdims: bool
    largest: bool
    last: bool


def extreme(work: Extreme, finish: Finish) -> Kernel:
    """The kernel: one comparison after the other for each output."""
    given = Arguments((work.x, *finish.inputs), finish.constants, (finish.output,))

    def body(read: Sequence[Buffer], constants: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        x, out, axis = read[0], written[0], work.axis
        apply = finish.bind(read[1:], constants)
        outer = [*x.shape[:axis], *x.shape[axis + 1 :]]
        with tasks(total(outer), total(outer, known=1) * int(x.shape[axis])) as task:
            place = unravel(task, outer)
            best, where = register(1, work.x.dtype), register(1, "int64")
            best.set(x[(*place[:axis], 0, *place[axis:])])
            where.set(tirx.const(0, "int64"))
            with T.serial(1, x.shape[axis]) as i:
                value = held(x[(*place[:axis], i, *place[axis:])]).get()
                with T.If(_beats(work, value, best.get())), T.Then():
                    best.set(value)
                    where.set(T.cast(i, "int64"))
            index = (*place[:axis], 0, *place[axis:]) if work.keepdims else tuple(place)
            T.buffer_store(out, apply(where.get(), index, 1), list(index))

    return kernel("extreme", given, body)


def _beats(work: Extreme, value: Expr, best: Expr) -> Expr:
    if work.largest:
        return value >= best if work.last else value > best
    return value <= best if work.last else value < best
