"""Formats: what the 8-bit element types hold, and reals in them: q = round(x / scale) + zero_point, saturated."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from effc.compiler.ranges import Range

FLOAT8 = "float8_e4m3fn"
"""Sign, 4 bits of exponent, 3 of mantissa, no infinities (Micikevicius et al., 2022, "FP8 formats")."""
_LARGEST_FLOAT8 = 448.0


def element(name: str) -> np.dtype[np.generic]:
    """The NumPy type of an element type's name."""
    return np.dtype(ml_dtypes.float8_e4m3fn) if name == FLOAT8 else np.dtype(name)


def limits(name: str) -> Range:
    """The least and the greatest number that the type holds."""
    if name == FLOAT8:
        return Range(-_LARGEST_FLOAT8, _LARGEST_FLOAT8)
    info = np.iinfo(name)
    return Range(float(info.min), float(info.max))


def encode(
    scaled: NDArray[np.floating[Any]], zero_point: int, name: str, bound: float | None = None
) -> NDArray[np.generic]:
    """x / scale as elements of the type, rounded half to even; `bound` narrows what it holds to [-bound, bound]."""
    held = limits(name) if bound is None else Range(-bound, bound)
    rounded = scaled.astype(np.float32) if name == FLOAT8 else np.rint(scaled) + zero_point
    return np.asarray(np.clip(rounded, held.lo, held.hi)).astype(element(name))
