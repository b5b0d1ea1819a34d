"""Rounding constants so that what a layer makes of its average input stays.

A channel's rounding errors of weights and bias shift it as a whole, and later layers average noise out, not shifts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from effc.compiler import ir
from effc.compiler.floats import Kind, Singles, held, nearest, steps
from effc.compiler.hazards import Format
from effc.compiler.ir import Array

Floats = NDArray[np.float64]

_BLOCK = 1 << 16
_STEPS = 8
_COLUMNS = 512
_SCALED = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True)
class Kernel:
    """What is known of a convolution whose weight [outputs, inputs / groups, taps...] is rounded.

    Attributes:
        means: average of each input channel, [inputs]; None where they are not known.
        bias: [outputs], or None.
    """

    groups: int = 1
    means: Floats | None = None
    bias: Array | None = None


@dataclass(frozen=True)
class Constants:
    """Converts the constants of a graph to a narrow type.

    Attributes:
        means: average of each channel by tensor name, as far as they are known.
        kernels: what convolution weights were rounded to, by name; grows.
    """

    form: Format
    means: Mapping[str, Array]
    kernels: dict[str, Array] = field(default_factory=dict)

    def converted(self, value: ir.Value) -> Array:
        """The constant in the narrow type; what only bounds other values ends at the type's own bounds.

        A scale may not become zero, which TensorRT refuses.
        """
        kind, name = self.form.dtype.numpy(), value.name or ""
        if name in self.kernels:
            return self.kernels[name]
        array, info = np.asarray(ir.const(value)), ml_dtypes.finfo(kind)  # type: ignore[no-untyped-call]
        bounded = np.clip(array, float(info.min), float(info.max))
        kernel = self._kernel(value)
        if kernel is not None:
            return self.kernels.setdefault(name, rounded(bounded, kind, kernel))
        narrow = nearest(bounded, kind)
        scales = any(use.node.op_type in _SCALED and use.idx == 1 for use in value.uses())
        return np.where((narrow == 0) & (array > 0), info.smallest_subnormal, narrow) if scales else narrow

    def _kernel(self, value: ir.Value) -> Kernel | None:
        """What is known of the convolution whose weight the value is, if it is one convolution's and nothing else."""
        uses, weight = list(value.uses()), ir.static_shape(value)
        if weight is None or len(weight) < 3 or len(uses) != 1 or uses[0].node.op_type != "Conv" or uses[0].idx != 1:
            return None
        node = uses[0].node
        data, bias = (*node.inputs, None)[0], (*node.inputs, None)[2]
        groups = ir.attr_int(node, "group", 1)
        means = None if data is None else self.means.get(data.name or "")
        known = means is not None and means.shape == (groups * weight[1],)
        return Kernel(groups, np.asarray(means, np.float64) if known else None, ir.const(bias))


def rounded(weight: Array, kind: Kind, kernel: Kernel) -> Array:
    """A convolution's weight in a narrower float type, each element within a step or two of its own.

    Taps of one kernel see much the same value, so the errors of a kernel are made to sum up to 0; then single elements
    move by one step until the errors times the average inputs also make up for the bias's own rounding.
    As many rows are rounded at once as stay in the processor's cache.
    """
    rows = weight.reshape(*weight.shape[:2], -1).astype(np.float32, copy=False)
    narrow = np.empty(rows.shape, kind)
    height = max(1, _BLOCK // max(1, rows.shape[1] * rows.shape[2]))
    for start in range(0, len(rows), height):
        block = slice(start, start + height)
        found = _diffused(rows[block], kind)
        if kernel.means is not None:
            means = kernel.means.reshape(kernel.groups, -1)[np.arange(len(rows))[block] * kernel.groups // len(rows)]
            shift = ((rows[block] - found).sum(axis=2, dtype=np.float64) * means).sum(axis=1)
            if kernel.bias is not None:
                bias = kernel.bias[block].astype(np.float64)
                shift += bias - nearest(bias, kind).astype(np.float64)
            _absorb(found, shift, means.astype(np.float32), kind)
        narrow[block] = found
    return narrow.reshape(weight.shape)


def _diffused(rows: Singles, kind: Kind) -> Singles:
    """Each tap, from the largest to the smallest, rounded together with the error left by the one before."""
    taps = rows.shape[-1]
    if taps == 1:
        return held(rows, kind)
    rising = _rising(rows.reshape(-1, taps))
    flat, error = rows.reshape(-1), np.zeros(len(rising), np.float32)
    narrow = np.empty_like(flat)
    for place in rising.T[::-1]:
        wanted = flat[place] + error
        narrow[place] = found = held(wanted, kind)
        error = wanted - found
    return narrow.reshape(rows.shape)


def _rising(rows: Singles) -> NDArray[np.intp]:
    """Where in `rows`, as if flat, the elements of each row lie from the smallest to the largest.

    The position takes the place of the lowest bits of the size, so that whole numbers are sorted, and nothing else.
    """
    taps = rows.shape[1]
    low = np.uint32((1 << (taps - 1).bit_length()) - 1)
    keys = np.abs(rows).view(np.uint32) & ~low | np.arange(taps, dtype=np.uint32)
    keys.sort(axis=1)
    return np.arange(0, rows.size, taps)[:, None] + (keys & low)


def _absorb(narrow: Singles, shift: Floats, means: Singles, kind: Kind) -> None:
    """Move, in each row, elements by one step each, in place, so that the row's outputs rise by `shift` on average."""
    rows, here = narrow.reshape(len(narrow), -1), np.arange(len(narrow))
    stride = -(-rows.shape[1] // _COLUMNS)
    part, step = rows[:, ::stride], steps(rows[:, ::stride], kind)
    effect = step * means[:, np.arange(0, rows.shape[1], stride) // narrow.shape[2]]
    size = np.where(step > 0, np.abs(effect), np.float32(np.inf))
    for _ in range(_STEPS):
        best = np.abs(np.abs(shift).astype(np.float32)[:, None] - size).argmin(axis=1)
        gain = effect[here, best].astype(np.float64)
        better = (size[here, best] < np.inf) & (np.abs(np.abs(shift) - np.abs(gain)) < np.abs(shift))
        sign = np.where(better, np.sign(shift) * np.sign(gain), 0.0)
        part[here, best] += (sign * step[here, best]).astype(np.float32)
        shift, size[here, best] = shift - sign * gain, np.inf
