"""A row-major image of bytes copied into a larger one, whose border holds the zero point."""

from __future__ import annotations

from dataclasses import replace

from tvm import tirx
from tvm.tirx.script import builder as T

from effc.backends.tvm.schedules.integer.dot import WORD
from effc.backends.tvm.schedules.integer.window import Window
from effc.backends.tvm.schedules.nest import Buffer, Expr, load, splat, store

_VECTOR = 32


def framed(window: Window) -> Window:
    """The window over the larger image, whose taps are words of four neighbouring pixels of a row."""
    words = -(-window.taps[1] // WORD)
    height = (window.size[0] - 1) * window.strides[0] + (window.taps[0] - 1) * window.dilations[0] + 1
    reach = (window.size[1] - 1) * window.strides[1] + WORD * words
    width = -(-max(reach, window.pads[1] + window.image[1]) // _VECTOR) * _VECTOR
    taps, dilations = (window.taps[0], words), (window.dilations[0], WORD)
    return replace(window, taps=taps, dilations=dilations, pads=(0, 0), image=(height, width))


def frame(x: Buffer, window: Window, zero: int) -> Buffer:
    """The copy of `x` (N, C, H, W) that `framed(window)` moves over."""
    batch, channels = x.shape[0], int(x.shape[1])
    height, width = framed(window).image
    larger = T.alloc_buffer((batch, channels, height, width), str(x.dtype), scope="global")
    with T.parallel(0, batch * channels * height) as task:
        n, c, row = task // (channels * height), task // height % channels, task % height
        line = row - window.pads[0]
        for start in range(0, width, _VECTOR):
            store(larger, splat(tirx.const(zero, str(x.dtype)), _VECTOR), n, c, row, start, lanes=_VECTOR)
        with T.If(tirx.all(line >= 0, line < window.image[0])), T.Then():
            _copy(x, larger, (n, c), (line, row, window.pads[1]))
    return larger


def _copy(x: Buffer, larger: Buffer, image: tuple[Expr, Expr], at: tuple[Expr, Expr, int]) -> None:
    (n, c), (line, row, left) = image, at
    width, start = int(x.shape[3]), 0
    while start < width:
        lanes = next(size for size in (_VECTOR, 16, 8, 4, 2, 1) if start + size <= width)
        store(larger, load(x, n, c, line, start, lanes=lanes), n, c, row, left + start, lanes=lanes)
        start += lanes
