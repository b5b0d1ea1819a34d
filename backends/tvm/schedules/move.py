"""Gather, Concat and Pad of row-major tensors: copies of runs of the last axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import Placed
from effc.backends.tvm.schedules.finish import Apply, Finish
from effc.backends.tvm.schedules.nest import (
    Arguments,
    Buffer,
    Expr,
    Kernel,
    kernel,
    load,
    splat,
    store,
    tasks,
    total,
    unravel,
)
from effc.backends.tvm.schedules.sweep import Row
from effc.compiler.ir import Array

Source = Placed | Array


@dataclass(frozen=True)
class Gathering:
    """`out[.., i.., ..] = data[.., indices[i..], ..]`: the indices stand in the place of `axis`.

    An index below 0 counts from the end; one out of range, which ONNX forbids, reads the nearest element.
    """

    data: Source
    indices: Source
    axis: int


def gather(work: Gathering, finish: Finish, lanes: int) -> Kernel:
    """The kernel: output rows in parallel."""
    sources = (work.data, work.indices)
    read_from = tuple(s for s in sources if isinstance(s, Placed))
    constants = tuple(s for s in sources if not isinstance(s, Placed))
    given = Arguments((*read_from, *finish.inputs), (*constants, *finish.constants), (finish.output,))
    many = len(work.indices.shape)

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        apply = finish.bind(read[len(read_from) :], held[len(constants) :])
        stored, fixed = iter(read), iter(held)
        data, indices = (next(stored) if isinstance(s, Placed) else next(fixed) for s in sources)
        out, size = written[0], data.shape[work.axis]

        def source(place: Sequence[Expr | int]) -> tuple[Expr | int, ...]:
            at = T.cast(indices[tuple(place[work.axis : work.axis + many])], "int64")
            inside = T.max(T.min(T.Select(at < 0, at + size, at), T.cast(size, "int64") - 1), tirx.const(0, "int64"))
            return (*place[: work.axis], inside, *place[work.axis + many :])

        along = work.axis + many < len(out.shape)  # else each element has an index of its own
        *outer, length = out.shape if out.shape else (1,)
        with tasks(total(outer), total(outer, known=1) * int(length) // lanes) as task:
            place = unravel(task, outer)

            def step(start: Expr | int, width: int, way: int) -> None:
                del way
                index = (*place, start)[: len(out.shape)]
                value = load(data, *source(index), lanes=width)
                store(out, apply(value, index, width), *index, lanes=width)

            Row(int(length), lanes if along else 1).sweep(step)

    return kernel("gather", given, body)


def concat(sources: Sequence[Source], axis: int, finish: Finish, lanes: int) -> Kernel:
    """The sources one after the other along `axis`."""
    read_from = tuple(s for s in sources if isinstance(s, Placed))
    constants = tuple(np.ascontiguousarray(s) for s in sources if not isinstance(s, Placed))
    given = Arguments((*read_from, *finish.inputs), (*constants, *finish.constants), (finish.output,))

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        apply = finish.bind(read[len(read_from) :], held[len(constants) :])
        stored, fixed = iter(read), iter(held)
        start = 0
        for source in sources:
            buffer = next(stored) if isinstance(source, Placed) else next(fixed)
            _placed_at(buffer, written[0], (axis, start), apply, lanes)
            start += int(source.shape[axis])

    return kernel("concat", given, body)


def _placed_at(x: Buffer, out: Buffer, at: tuple[int, int], apply: Apply, lanes: int) -> None:
    """Copy a tensor to its place: (axis, offset along it)."""
    axis, offset = at
    *outer, length = x.shape
    with tasks(total(outer), total(outer, known=1) * int(length) // lanes) as task:
        place = unravel(task, outer)

        def step(start: Expr | int, width: int, way: int) -> None:
            del way
            source = (*place, start)
            target = (*source[:axis], source[axis] + offset, *source[axis + 1 :])
            value = load(x, *source, lanes=width)
            store(out, apply(value, target, width), *target, lanes=width)

        Row(int(length), lanes).sweep(step)


@dataclass(frozen=True)
class Padding:
    """`out = value` around x, which begins at `before`; negative `before` cuts."""

    x: Placed
    before: tuple[int, ...]
    value: float


def pad(work: Padding, finish: Finish, lanes: int) -> Kernel:
    """The kernel: output rows in parallel, each filled, then written over where it lies inside."""
    given = Arguments((work.x, *finish.inputs), finish.constants, (finish.output,))

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        apply, x, out = finish.bind(read[1:], held), read[0], written[0]
        *outer, length = out.shape
        first = max(0, work.before[-1])
        last = min(int(length), work.before[-1] + int(x.shape[-1]))
        fill = tirx.const(work.value, work.x.dtype)
        with tasks(total(outer), total(outer, known=1) * int(length) // lanes) as task:
            place = unravel(task, outer)
            source = [i - b for i, b in zip(place, work.before[:-1], strict=True)]

            def run(start: int, end: int, *, inside: bool) -> None:
                def step(at: Expr | int, width: int, way: int) -> None:
                    del way
                    index = (*place, start + at)
                    column = start - work.before[-1] + at
                    value = load(x, *source, column, lanes=width) if inside else splat(fill, width)
                    store(out, apply(value, index, width), *index, lanes=width)

                if end > start:
                    Row(end - start, lanes).sweep(step)

            bounds = [
                _within(s, d) for s, d, b, o in zip(source, x.shape, work.before, outer, strict=False) if _cut(d, b, o)
            ]
            run(0, first, inside=False)
            run(last, int(length), inside=False)
            if not bounds:
                run(first, last, inside=True)
                return
            with T.If(reduce(T.And, bounds)):
                with T.Then():
                    run(first, last, inside=True)
                with T.Else():
                    run(first, last, inside=False)

    return kernel("pad", given, body)


def _within(place: Expr, size: Expr) -> Expr:
    return T.And(place >= 0, place < size)


def _cut(size: Expr, before: int, outer: Expr) -> bool:
    """Whether an axis of the output reaches out of the input; the batch does not."""
    return isinstance(size, tirx.IntImm) and (before != 0 or int(size) != int(outer))
