"""Concatenation of channels in blocks: whole blocks are copied, others are made of the lanes of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import Placed
from effc.backends.tvm.schedules.finish import Apply, Finish
from effc.backends.tvm.schedules.nest import Arguments, Buffer, Expr, Kernel, held, kernel, load, shuffle, store, tasks


def concat(parts: Sequence[Placed], finish: Finish) -> Kernel:
    """The kernel: batch and rows in parallel, the channels one output block after the other."""
    seen = finish.image()
    given = Arguments((*parts, *finish.inputs), seen.constants, (finish.output,))

    def body(read: Sequence[Buffer], held: Sequence[Buffer], written: Sequence[Buffer]) -> None:
        apply = seen.bind(read[len(parts) :], held)
        starts = [0, *accumulate(int(part.shape[1]) for part in parts)]
        _Nest(parts, read[: len(parts)], starts, written[0], apply).write()

    return kernel("concat", given, body, seen=Placed.image)


@dataclass(frozen=True)
class _Nest:
    parts: Sequence[Placed]
    read: Sequence[Buffer]
    starts: Sequence[int]
    y: Buffer
    apply: Apply

    @property
    def lanes(self) -> int:
        """Of a block."""
        return self.parts[0].block

    def write(self) -> None:
        """Runs of blocks that one part fills alone, in its own order, are a loop; each other block has its own code."""
        batch, blocks, high, _, _ = self.y.shape
        operations = int(np.prod([int(d) for d in self.y.shape[1:4]]))
        with tasks(batch * high, operations) as task:
            n, row = task // high, task % high
            block = 0
            while block < int(blocks):
                part = self._whole(block)
                count = 1 if part is None else -(-(self.starts[part + 1] - block * self.lanes) // self.lanes)
                if part is None:
                    self._mixed(n, row, block)
                else:
                    self._copied((n, row), part, block, count)
                block += count

    def _whole(self, block: int) -> int | None:
        """The part that begins with this block and fills it, and is itself followed by a whole block or nothing."""
        start = block * self.lanes
        found = [p for p, first in enumerate(self.starts[:-1]) if first == start]
        last = [p for p in found if self.starts[p + 1] % self.lanes == 0 or p == len(self.parts) - 1]
        return last[0] if last else None

    def _copied(self, place: tuple[Expr, Expr], part: int, block: int, count: int) -> None:
        (n, row), x, wide = place, self.read[part], int(self.y.shape[3])
        with T.serial(0, count) as b, T.serial(0, wide) as column:
            value = load(x, n, b, row, column, 0, lanes=self.lanes)
            self._put(value, (n, block + b, row, column, 0))

    def _mixed(self, n: Expr, row: Expr, block: int) -> None:
        """Lanes are taken from each source in turn."""
        sources = self._sources(block)
        with T.serial(0, int(self.y.shape[3])) as column:
            value = None
            for (part, b), lanes in sources.items():
                found = load(self.read[part], n, b, row, column, 0, lanes=self.lanes)
                order = [lanes.get(i, i if value is not None else 0) for i in range(self.lanes)]
                if value is None:
                    value = held(tirx.Shuffle([found], order))
                else:
                    places = [self.lanes + lanes[i] if i in lanes else i for i in range(self.lanes)]
                    value.set(shuffle(value.get(), found, places))
            assert value is not None
            self._put(value.get(), (n, block, row, column, 0))

    def _sources(self, block: int) -> dict[tuple[int, int], dict[int, int]]:
        """Which lanes of which block of which part an output block is made of, by output lane."""
        sources: dict[tuple[int, int], dict[int, int]] = {}
        for lane in range(min(self.lanes, self.starts[-1] - block * self.lanes)):
            channel = block * self.lanes + lane
            part = int(np.searchsorted(self.starts, channel, side="right")) - 1
            b, at = divmod(channel - self.starts[part], self.lanes)
            sources.setdefault((part, b), {})[lane] = at
        return sources

    def _put(self, value: Expr, to: tuple[Expr, ...]) -> None:
        store(self.y, self.apply(value, to, self.lanes), *to, lanes=self.lanes)
