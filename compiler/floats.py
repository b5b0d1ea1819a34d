"""The numbers of float16 and bfloat16, found by float32 arithmetic, which is several times as fast as conversion."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from effc.compiler.ir import Array

Singles = NDArray[np.float32]
Kind = np.dtype[np.generic]

_MANTISSA = 23
_EXPONENT = np.uint32(0x7F800000)
"""The bits of a float32 that hold its exponent."""


def nearest(array: Array, kind: Kind) -> Array:
    """The array in a narrower float type."""
    return array.astype(np.float32).astype(kind)


def held(array: Singles, kind: Kind) -> Singles:
    """`nearest` as float32, for arrays within the type's range: half of the last kept bit is added and the rest cut.

    Below the normal numbers all steps are of one size, which is that of float32's own from 2^23 of them on.
    """
    info = ml_dtypes.finfo(kind)  # type: ignore[no-untyped-call]
    cut, bits = _MANTISSA - info.nmant, array.view(np.uint32)
    up = np.right_shift(bits, np.uint32(cut), out=np.empty_like(bits))
    up &= np.uint32(1)
    up += bits
    up += np.uint32((1 << cut - 1) - 1)
    up &= np.uint32(-1 << cut & 0xFFFFFFFF)
    rounded, small = up.view(np.float32), np.abs(array) < np.float32(info.smallest_normal)
    coarse = np.float32(1.5 * 2.0**_MANTISSA * float(info.smallest_subnormal))
    rounded[small] = array[small] + coarse - coarse
    return rounded


def steps(numbers: Singles, kind: Kind) -> Singles:
    """From each number of the narrower type to one beside it: 2^(exponent - mantissa bits); 0 at the type's ends."""
    info = ml_dtypes.finfo(kind)  # type: ignore[no-untyped-call]
    power = (numbers.view(np.uint32) & _EXPONENT).view(np.float32)
    size = np.maximum(power * np.float32(info.eps), np.float32(info.smallest_subnormal))
    return np.where(np.abs(numbers) < np.float32(info.max), size, np.float32(0))
