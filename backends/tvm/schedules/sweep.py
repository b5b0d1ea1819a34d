"""Passes over a row, a vector at a time, and what a row comes down to: its sum, its largest value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm.tirx.script import builder as T

from effc.backends.tvm.schedules.nest import Expr, Register, load, register, splat

_WAYS = 4
"""Vectors of a step, each with its own total: an addition's latency."""
Step = Callable[[Expr | int, int, int], None]
"""(start, lanes, which total)."""
Combine = Callable[[Expr, Expr], Expr]


@dataclass(frozen=True)
class Row:
    """A row of `length` elements, read `lanes` at a time."""

    length: int
    lanes: int

    def sweep(self, step: Step) -> None:
        """Call `step` for every vector of the row; for a last, narrower one too."""
        wide = self.lanes * _WAYS
        whole, rest = divmod(self.length, wide)
        if whole:
            with T.serial(0, whole) as i:
                for way in range(_WAYS):
                    step(i * wide + way * self.lanes, self.lanes, way)
        vectors, tail = divmod(rest, self.lanes)
        for way in range(vectors):
            step(whole * wide + way * self.lanes, self.lanes, way)
        if tail:
            step(self.length - tail, tail, _WAYS)

    def fold(self, identity: Expr, value: Callable[[Expr | int, int], Expr], combine: Combine) -> Register:
        """All of `value(start, lanes)` combined into one scalar."""
        dtype = str(identity.ty.dtype)
        used = min(_WAYS, self.length // self.lanes)
        totals = {way: register(self.lanes, dtype) for way in range(used)}
        if tail := self.length % self.lanes:
            totals[_WAYS] = register(tail, dtype)
        for total in totals.values():
            total.set(splat(identity, total.lanes))

        def step(start: Expr | int, lanes: int, way: int) -> None:
            totals[way].set(combine(totals[way].get(), value(start, lanes)))

        self.sweep(step)
        whole = [totals[way] for way in range(used)]
        for other in whole[1:]:
            whole[0].set(combine(whole[0].get(), other.get()))
        result = register(1, dtype)
        parts = [across(part, combine) for part in (whole[:1] + [t for w, t in totals.items() if w == _WAYS])]
        result.set(parts[0] if len(parts) == 1 else combine(parts[0], parts[1]))
        return result


def across(vector: Register, combine: Combine) -> Expr:
    """A vector's lanes combined into one scalar: halves with halves, then one by one."""
    lanes = vector.lanes
    while lanes > 1 and lanes % 2 == 0:
        lanes //= 2
        half = register(lanes, vector.dtype)
        low, high = load(vector.buffer, 0, lanes=lanes), load(vector.buffer, lanes, lanes=lanes)
        half.set(combine(low, high))
        vector = half
    total = vector.buffer[0]
    for lane in range(1, lanes):
        total = combine(total, vector.buffer[lane])
    return total
