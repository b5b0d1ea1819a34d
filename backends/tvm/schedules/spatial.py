"""The mean or the largest value of each channel of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
    Register,
    kernel,
    load,
    narrowed,
    register,
    splat,
    store,
    tasks,
    widest,
)

Kind = Literal["mean", "sum", "max"]
_WAYS = 8
"""Pixels of a step, each with its own total: an addition's latency on two ports."""


def spatial(x: Placed, kind: Kind, finish: Finish) -> Kernel:
    """The kernel: channel blocks in parallel; the output is blocked like the input, or (N, C) and row-major."""
    given = Arguments((x, *finish.inputs), finish.constants, (finish.output,))
    pixels = int(np.prod([int(d) for d in x.shape[2:]]))

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        image = T.decl_buffer((read[0].shape[0], x.blocks, pixels, x.block), x.dtype, data=read[0].data)
        _Nest(x, kind, image, finish.output, written[0], finish.bind(read[1:], held)).write()

    return kernel(f"spatial_{kind}", given, body)


@dataclass(frozen=True)
class _Nest:
    x: Placed
    kind: Kind
    image: Buffer
    output: Placed
    y: Buffer
    apply: Apply

    def write(self) -> None:
        """Batch and channel blocks in parallel."""
        blocks, pixels = self.x.blocks, int(self.image.shape[2])
        with tasks(self.image.shape[0] * blocks, blocks * pixels) as task:
            n, block = task // blocks, task % blocks
            total = self._total(n, block)
            if self.kind == "mean":
                total.set(total.get() * splat(tirx.const(1.0 / pixels, total.dtype), total.lanes))
            self._store(n, block, total)

    def _total(self, n: Expr, block: Expr) -> Register:
        lanes, pixels = self.x.block, int(self.image.shape[2])
        ways = min(_WAYS, pixels)
        totals = [register(lanes, widest(self.x.dtype)) for _ in range(ways)]
        for way, total in enumerate(totals):
            total.set(self._pixel(n, block, way))
        with T.serial(1, pixels // ways) as step:
            for way, total in enumerate(totals):
                total.set(self._join(total.get(), self._pixel(n, block, step * ways + way)))
        for way in range(pixels % ways):
            totals[way].set(self._join(totals[way].get(), self._pixel(n, block, pixels - pixels % ways + way)))
        while len(totals) > 1:
            half = -(-len(totals) // 2)
            for a, b in zip(totals, totals[half:], strict=False):
                a.set(self._join(a.get(), b.get()))
            totals = totals[:half]
        return totals[0]

    def _pixel(self, n: Expr, block: Expr, place: Expr | int) -> Expr:
        """In the type of the totals."""
        return narrowed(load(self.image, n, block, place, 0, lanes=self.x.block), widest(self.x.dtype))

    def _join(self, a: Expr, b: Expr) -> Expr:
        return T.max(b, a) if self.kind == "max" else a + b

    def _store(self, n: Expr, block: Expr, total: Register) -> None:
        lanes, rest = self.x.block, int(self.x.shape[1]) % self.x.block
        if self.output.block:
            to = (n, block, *(0,) * len(self.output.shape[2:]), 0)
            store(self.y, self.apply(narrowed(total.get(), self.x.dtype), to, lanes), *to, lanes=lanes)
            return
        if not rest:
            self._channels(n, block, total, lanes)
            return
        with T.If(block < self.x.blocks - 1):
            with T.Then():
                self._channels(n, block, total, lanes)
            with T.Else():
                self._channels(n, block, total, rest)

    def _channels(self, n: Expr, block: Expr, total: Register, lanes: int) -> None:
        """The first `lanes` lanes as row-major channels."""
        value = narrowed(load(total.buffer, 0, lanes=lanes), self.x.dtype)
        to = (n, block * self.x.block)
        store(self.y, self.apply(value, to, lanes), *to, lanes=lanes)
