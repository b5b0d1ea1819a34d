"""Layer normalization of rows: mean, variance, then scale and bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import Placed
from effc.backends.tvm.schedules.finish import Finish
from effc.backends.tvm.schedules.nest import (
    Arguments,
    Buffer,
    Expr,
    Kernel,
    held,
    kernel,
    load,
    narrowed,
    splat,
    store,
    tasks,
    total,
    unravel,
    widened,
)
from effc.backends.tvm.schedules.sweep import Row
from effc.compiler.ir import Array

_COST = 4
"""Vector operations for each element."""


@dataclass(frozen=True)
class LayerNorm:
    """`(x - mean) / sqrt(variance + epsilon) * scale + bias` over the last axis; the bias may be missing."""

    x: Placed
    scale: Array
    bias: Array | None
    epsilon: float


def layer_norm(work: LayerNorm, finish: Finish, lanes: int) -> Kernel:
    """The kernel: rows in parallel, each read three times from the first-level cache."""
    rows = tuple(np.asarray(a, np.float32) for a in (work.scale, work.bias) if a is not None)
    given = Arguments((work.x, *finish.inputs), (*rows, *finish.constants), (finish.output,))

    def body(read: Sequence[Buffer], constants: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        x, out = read[0], written[0]
        apply = finish.bind(read[1:], constants[len(rows) :])
        *outer, length = x.shape
        row, count = Row(int(length), lanes), int(length)
        with tasks(total(outer), total(outer, known=1) * count * _COST // lanes) as task:
            place = unravel(task, outer)
            mean, scale = _moments(x, place, row, work.epsilon)

            def step(start: Expr | int, width: int, way: int) -> None:
                del way
                index = (*place, start)
                value = (widened(load(x, *index, lanes=width)) - splat(mean, width)) * splat(scale, width)
                value = value * load(constants[0], start, lanes=width)
                if work.bias is not None:
                    value = value + load(constants[1], start, lanes=width)
                store(out, apply(narrowed(value, work.x.dtype), index, width), *index, lanes=width)

            row.sweep(step)

    return kernel("layer_norm", given, body)


def _moments(x: Buffer, place: Sequence[Expr], row: Row, epsilon: float) -> tuple[Expr, Expr]:
    """A row's mean, and one over its standard deviation."""
    zero, share = tirx.const(0.0, "float32"), tirx.const(1.0 / row.length, "float32")
    whole = row.fold(zero, lambda i, n: widened(load(x, *place, i, lanes=n)), lambda a, b: a + b)
    mean = held(whole.get() * share)

    def square(start: Expr | int, lanes: int) -> Expr:
        apart = held(widened(load(x, *place, start, lanes=lanes)) - splat(mean.get(), lanes))
        return apart.get() * apart.get()

    spread = row.fold(zero, square, lambda a, b: a + b)
    scale = held(1.0 / T.sqrt(spread.get() * share + tirx.const(epsilon, "float32")))
    return mean.get(), scale.get()
