"""Windows that move over an image: which inputs an output reads, and which of them lie outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tvm.tirx.script import builder as T

from effc.backends.tvm.schedules.nest import Expr

Position = Expr | int


@dataclass(frozen=True)
class Axis:
    """One side of an image: window `q` reads inputs `q * stride + tap * dilation - before`, those of them that exist.

    Attributes:
        size: number of windows.
        extent: number of inputs.
        taps, stride, dilation, before: of the window; `before` is the padding in front, negative where it is cropped.
        start, step: window `q` makes output `start + step * q`.
    """

    size: int
    extent: int
    taps: int = 1
    stride: int = 1
    dilation: int = 1
    before: int = 0
    start: int = 0
    step: int = 1

    @property
    def same(self) -> bool:
        """Whether each output is made of the input in its place alone."""
        return self == Axis(self.size, self.size)

    def reads(self, window: Position, tap: Position) -> Position:
        """The input position under a tap."""
        return window * self.stride + tap * self.dilation - self.before

    def output(self, window: Position) -> Position:
        """The output position of a window."""
        return self.start + window * self.step

    def clear(self, first: int, count: int) -> bool:
        """Whether no tap of these windows falls outside."""
        return self.reads(first, 0) >= 0 and self.reads(first + count - 1, self.taps - 1) < self.extent

    def hits(self, window: Position, offset: int, tap: int) -> bool:
        """Whether a tap of window `window + offset` exists; a window that is no number never touches the border."""
        return not isinstance(window, int) or 0 <= self.reads(window + offset, tap) < self.extent

    def existing(self, window: Position) -> tuple[Position, Position]:
        """The first tap of a window that exists, and the one behind the last."""
        return (0, self.taps) if self.whole(None) else self.within(window, None)

    def within(self, window: Position, after: int | None) -> tuple[Position, Position]:
        """The first tap on the image, and the one behind the last; with `after`, on the image with its padding."""
        low, high = self._bounds(after)
        base = window * self.stride - self.before - low
        last = T.max(0, T.min(self.taps, (high - low - 1 - base) // self.dilation + 1))
        return T.min(last, T.max(0, (self.dilation - 1 - base) // self.dilation)), last

    def whole(self, after: int | None) -> bool:
        """Whether all taps of all windows are on the image; with `after`, on the image with its padding."""
        return self.counted(0, after) == self.taps == self.counted(self.size - 1, after)

    def counted(self, window: int, after: int | None) -> int:
        """How many taps of a window are on the image; with `after`, on the image with its padding."""
        low, high = self._bounds(after)
        return sum(low <= self.reads(window, tap) < high for tap in range(self.taps))

    def _bounds(self, after: int | None) -> tuple[int, int]:
        return (0, self.extent) if after is None else (-self.before, self.extent + after)

    def joined(self, other: Axis) -> Axis:
        """Two sides on which nothing moves as one."""
        return replace(self, size=self.size * other.size, extent=self.extent * other.extent)


@dataclass(frozen=True)
class Segment:
    """Neighbouring tiles with the same code: `count` tiles of `width` windows from `start` on."""

    start: int
    count: int
    width: int


def segments(axis: Axis, columns: int, start: int = 0) -> Iterator[Segment]:
    """The tiles of a row from `start` on: those that touch the border alone, the others as loops."""
    run: list[int] = []
    for first in range(start, axis.size, columns):
        width = min(columns, axis.size - first)
        if width == columns and axis.clear(first, width):
            run.append(first)
            continue
        yield from _looped(run, columns)
        run = []
        yield Segment(first, 1, width)
    yield from _looped(run, columns)


def _looped(run: list[int], width: int) -> Iterator[Segment]:
    if run:
        yield Segment(run[0], len(run), width)


def walk(axis: Axis, columns: int, start: int = 0) -> Iterator[tuple[Position, int]]:
    """Open the loops over a row's tiles one after the other; yields each tile's first window and its width."""
    for segment in segments(axis, columns, start):
        if segment.count == 1:
            yield segment.start, segment.width
        else:
            with T.serial(0, segment.count) as step:
                yield segment.start + step * segment.width, segment.width


def even(size: int, most: int) -> int:
    """The width of the fewest tiles of at most `most`, as equal as can be."""
    return -(-size // -(-size // most))
