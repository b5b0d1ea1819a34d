"""Weights in 8 bits, symmetric, per channel; biases as int32 in steps of scale(input) * scale(weight)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effc.calibration.formats import FLOAT8, element, encode, limits

Floats = NDArray[np.float64]
Rows = NDArray[np.floating[Any]]

_BIAS_LIMIT = float(1 << 30)
_TINY = float(np.finfo(np.float32).tiny)
_BLOCK = 1 << 17
_SHRINK = np.linspace(1.0, 0.8, 21)


def channels_first(weight: NDArray[np.generic], axis: int | None) -> Rows:
    """The weight as [channels, rest]; one row where it is quantized per tensor."""
    wide = weight.astype(np.result_type(weight.dtype, np.float32), copy=False)
    return wide.reshape(1, -1) if axis is None else np.moveaxis(wide, axis, 0).reshape(wide.shape[axis], -1)


def max_scales(rows: Rows, kind: str = "int8") -> Floats:
    """max |w| / 127 (448 for float8) of each row as float32 holds it; 1 for a row of zeros."""
    peak = np.maximum(rows.max(axis=1, initial=0.0), -rows.min(axis=1, initial=0.0)).astype(np.float64)
    return _float32(np.where(peak > 0, np.maximum(peak / limits(kind).hi, _TINY), 1.0))


def mse_scales(rows: Rows, kind: str = "int8") -> Floats:
    """Of 21 scales from 0.8 to 1 times the largest's, the one with the least squared error of each row."""
    full, best = max_scales(rows, kind), np.ones(len(rows))
    for block in _blocks(rows):
        steps = (rows[block] / full[block, None]).astype(np.float32)
        errors = [factor**2 * _squared_errors(steps * np.float32(1.0 / factor), kind) for factor in _SHRINK]
        best[block] = _SHRINK[np.argmin(errors, axis=0)]
    return _float32(full * best)


def _blocks(rows: Rows) -> Iterator[slice]:
    """As many rows at once as stay in the processor's cache."""
    height = max(1, _BLOCK // max(1, rows.shape[1]))
    return (slice(start, start + height) for start in range(0, len(rows), height))


def _squared_errors(steps: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """Sum of squares of what rounding a number of steps leaves, by row, in steps."""
    bound = limits(kind).hi
    held = encode(steps, 0, kind, bound).astype(np.float32) if kind == FLOAT8 else np.rint(steps)
    np.clip(held, -bound, bound, out=held)
    held -= steps
    return np.asarray(np.einsum("ij,ij->i", held, held))


def fit_bias(scales: Floats, bias: Floats, input_scale: float) -> Floats:
    """Scales raised where the bias would leave half of int32's range: |b| <= 2^30 * s_in * s_w."""
    needed = np.abs(np.broadcast_to(bias, scales.shape) if len(scales) > 1 else np.max(np.abs(bias), initial=0.0))
    return _float32(np.maximum(scales, needed / (_BIAS_LIMIT * input_scale)))


def quantize_rows(rows: Rows, scales: Floats, kind: str = "int8") -> NDArray[np.generic]:
    """round(w / s), half to even, in [-127, 127] or what float8 holds."""
    held = np.empty(rows.shape, element(kind))
    for block in _blocks(rows):
        held[block] = encode(rows[block] / scales[block, None], 0, kind, limits(kind).hi)
    return held


def restore(rows: NDArray[np.generic], shape: tuple[int, ...], axis: int | None) -> NDArray[np.generic]:
    """Rounded rows back in the weight's shape."""
    if axis is None:
        return rows.reshape(shape)
    moved = (shape[axis], *(d for i, d in enumerate(shape) if i != axis))
    return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, axis))


def _float32(scales: Floats) -> Floats:
    """The scales as float32 holds them."""
    return np.asarray(scales.astype(np.float32), np.float64)


def quantize_bias(bias: Floats, scale: Floats) -> NDArray[np.int32]:
    """round(b / s), saturated to int32."""
    info = np.iinfo(np.int32)
    return np.clip(np.rint(bias / scale), info.min, info.max).astype(np.int32)
