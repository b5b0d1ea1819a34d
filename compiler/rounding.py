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
from effc.compiler.hazards import Format
from effc.compiler.ir import Array

Floats = NDArray[np.float64]

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


def nearest(array: Array, kind: np.dtype[np.generic]) -> Array:
    """The array in a narrower float type."""
    return array.astype(np.float32).astype(kind)


def rounded(weight: Array, kind: np.dtype[np.generic], kernel: Kernel) -> Array:
    """A convolution's weight in a narrower float type, each element within a step or two of its own.

    Taps of one kernel see much the same value, so the errors of a kernel are made to sum up to 0; then single elements
    move by one step until the errors times the average inputs also make up for the bias's own rounding.
    """
    rows = weight.reshape(*weight.shape[:2], -1).astype(np.float64)
    narrow = _diffused(rows, kind)
    if kernel.means is not None:
        means = np.repeat(kernel.means.reshape(kernel.groups, -1), len(rows) // kernel.groups, axis=0)
        shift = ((rows - narrow) * means[:, :, None]).sum(axis=(1, 2))
        if kernel.bias is not None:
            shift += kernel.bias.astype(np.float64) - nearest(kernel.bias, kind).astype(np.float64)
        _absorb(narrow, shift, means, kind)
    return nearest(narrow.reshape(weight.shape), kind)


def _diffused(rows: Floats, kind: np.dtype[np.generic]) -> Floats:
    """Each tap, from the largest to the smallest, rounded together with the error left by the one before."""
    if rows.shape[-1] == 1:
        return nearest(rows, kind).astype(np.float64)
    order = np.argsort(-np.abs(rows), axis=-1, kind="stable")
    falling = np.take_along_axis(rows, order, axis=-1)
    error = np.zeros(falling.shape[:-1])
    for tap in range(falling.shape[-1]):
        wanted = falling[..., tap] + error
        falling[..., tap] = nearest(wanted, kind)
        error = wanted - falling[..., tap]
    narrow = np.empty_like(rows)
    np.put_along_axis(narrow, order, falling, axis=-1)
    return narrow


def _absorb(narrow: Floats, shift: Floats, means: Floats, kind: np.dtype[np.generic]) -> None:
    """Move, in each row, elements by one step each, in place, so that the row's outputs rise by `shift` on average."""
    rows = narrow.reshape(len(narrow), -1)
    columns = slice(None, None, -(-rows.shape[1] // _COLUMNS))
    part, of = rows[:, columns], np.repeat(means, narrow.shape[2], axis=1)[:, columns]
    up = np.nextafter(nearest(part, kind), np.asarray(np.inf, kind)).astype(np.float64) - part
    effect, free, here = up * of, np.isfinite(up), np.arange(len(rows))
    for _ in range(_STEPS):
        left = np.abs(np.abs(shift)[:, None] - np.abs(effect))
        best = np.where(free, left, np.inf).argmin(axis=1)
        gain = effect[here, best]
        better = free[here, best] & (np.abs(np.abs(shift) - np.abs(gain)) < np.abs(shift))
        sign, gain = np.where(better, np.sign(shift) * np.sign(gain), 0.0), np.where(better, gain, 0.0)
        part[here, best] += sign * np.where(better, up[here, best], 0.0)
        shift, free[here, best] = shift - sign * gain, False
    rows[:, columns] = part
