"""Which input pixels a window reads, for whole rows of output pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tvm.tirx.script import builder as T

from effc.backends.tvm.schedules.nest import Expr
from effc.backends.tvm.schedules.window import Axis, Segment, segments
from effc.compiler.ir import Array


@dataclass(frozen=True)
class Window:
    """A window of `taps` that moves over an image; pairs are vertical, horizontal.

    Attributes:
        pads: top, left.
        image: input height and width.
        size: output height and width.
    """

    taps: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int]
    image: tuple[int, int]
    size: tuple[int, int]

    @property
    def pointwise(self) -> bool:
        """Whether each output pixel is computed from the input pixel in its place."""
        return self.taps == (1, 1) and self.strides == (1, 1) and self.image == self.size

    def line(self, row: Expr | int, tap: Expr | int) -> Expr | int:
        """The input row that a tap reads for an output row."""
        return row * self.strides[0] + tap * self.dilations[0] - self.pads[0]

    def column(self, column: Expr | int, tap: Expr | int) -> Expr | int:
        """The input column that a tap reads for an output column."""
        return column * self.strides[1] + tap * self.dilations[1] - self.pads[1]

    @property
    def cuts(self) -> tuple[int, int]:
        """How many taps lie above and below the image at most."""
        bottom = max(0, self.line(self.size[0] - 1, self.taps[0] - 1) - (self.image[0] - 1))
        step = self.dilations[0]
        return min(self.taps[0], -(-self.pads[0] // step)), min(self.taps[0], -(-bottom // step))

    def rows(self, row: Expr) -> tuple[Expr | int, Expr | int]:
        """For an output row, how many taps lie above the image and how many below it."""
        (above, below), step, taps = self.cuts, self.dilations[0], self.taps[0]
        first: Expr | int = 0
        last: Expr | int = 0
        if above:
            first = T.min(above, T.max(0, (-self.line(row, 0) + step - 1) // step))
        if below:
            last = T.min(below, T.max(0, (self.line(row, taps - 1) - (self.image[0] - 1) + step - 1) // step))
        return first, last

    def clear_rows(self, row: Expr) -> tuple[Expr | int, Expr | int]:
        """For an output row, the first tap inside the image, and the one behind the last."""
        above, below = self.rows(row)
        return above, self.taps[0] - below

    def clear_columns(self, column: Expr) -> tuple[Expr | int, Expr | int]:
        """For an output column, the first tap inside the image, and the one behind the last."""
        return self.turned.clear_rows(column)

    @property
    def turned(self) -> Window:
        """The window with its sides exchanged."""
        sides = (self.taps, self.strides, self.dilations, self.pads, self.image, self.size)
        return Window(*((b, a) for a, b in sides))

    def inside(self, column: int, tap: int) -> bool:
        """Whether a tap of an output column reads inside the row."""
        return 0 <= int(self.column(column, tap)) < self.image[1]

    def segments(self, columns: int) -> Iterator[Segment]:
        """The tiles of a row: those that touch the border one by one, the others as loops."""
        side = (self.size, self.image, self.taps, self.strides, self.dilations, self.pads)
        return segments(Axis(*(horizontal for _, horizontal in side)), columns)

    def corrections(self, weight: Array, zero: int) -> Array:
        """`-zero * sum of the weights inside the image`, int32 (taps above, taps below, outputs).

        `weight` is (outputs, KH), summed over everything else: what a zero point other than 0 adds to each sum.
        """
        above, below = self.cuts
        high = weight.shape[1]
        kept = [[weight[:, f : max(f, high - last)].sum(axis=1) for last in range(below + 1)] for f in range(above + 1)]
        return (-zero * np.array(kept, np.int64)).astype(np.int32)
