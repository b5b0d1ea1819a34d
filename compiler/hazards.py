"""Why a node should not compute in fewer bits: what would overflow, vanish or gather error there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from effc.compiler import ir
from effc.compiler.extents import BOUNDED, MOVES, Extents, magnitude, ops
from effc.compiler.floats import held, nearest
from effc.compiler.lowering import OpTable
from effc.compiler.ranges import Range

POINTWISE = ops(
    "Abs Add And Celu Clip Elu Equal Erf Gelu Greater GreaterOrEqual HardSigmoid HardSwish LeakyRelu Less LessOrEqual "
    "Max Mean Min Mish Mul Neg Not PRelu Relu Selu Sigmoid Sign Softplus Softsign Sub Sum Tanh ThresholdedRelu Where"
)
"""Ops of one element each, which take as much precision as they are given."""
WIDE = ops(
    "ArgMax ArgMin AveragePool BatchNormalization Conv ConvTranspose DeformConv Einsum Gemm GlobalAveragePool "
    "GlobalMaxPool LpPool MatMul MaxPool OneHot ReduceMax ReduceMin Resize TopK Upsample"
)
"""Ops that select, or that GPUs accumulate in float32 whatever the type of their tensors."""
MAGNIFIERS = {
    "Log": frozenset(BOUNDED),
    "Sqrt": WIDE | {"ReduceMean", "ReduceSum", "ReduceSumSquare"},
}
"""Ops that need small values exact, and the ops at which that demand on those before them ends."""
BOUNDS = {"Clip": (1, 2)}
"""Inputs that only bound what others hold: a bound beyond the type may as well be the type's own."""
BIASES = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2}
"""Inputs that are added to much larger sums, so that their smallest values do not count."""


@dataclass(frozen=True)
class Format:
    """A narrow float type.

    Attributes:
        largest: observed values must not exceed it: a quarter of what the type holds, for the sake of other samples.
        least: a tensor whose largest value is below loses too much to steps that no longer shrink with the values.
        ranges: whether ranges can show an op to be safe; else there are too few bits for that.
    """

    dtype: ir.DataType
    largest: float
    least: float
    ranges: bool

    @property
    def name(self) -> str:
        """As in ONNX, in lower case."""
        return self.dtype.name.lower()


FLOAT16 = Format(ir.DataType.FLOAT16, 65504.0 / 4, 2.0**-12, ranges=True)
BFLOAT16 = Format(ir.DataType.BFLOAT16, 3.3895e38 / 4, 0.0, ranges=False)
FORMATS = {each.name: each for each in (FLOAT16, BFLOAT16)}

LOSS_DB = 60.0
"""Rounding normal values to float16 leaves about 73 dB; below this a constant lies largely under the normal ones."""
_EXP_STEP = 8.0
_SOFTMAX_SPAN = 8.0
_SQUARE = 128.0
_AXIS = 1024
_DIVISOR = 2.0**-10
_EXACT = 2048.0

Hazard = Callable[[ir.Node, Extents], str | None]
HAZARDS: OpTable[Hazard] = OpTable("narrow floats")
"""Ops that are safe or not by the range of their values; a hazard returns the reason against, or None."""


def reason(node: ir.Node, form: Format, found: Extents) -> str | None:
    """Why the node should compute in float32, None where the narrow type serves."""
    if node.op_type in HAZARDS:
        if not form.ranges:
            return f"{form.name} has too few bits for {node.op_type}"
        if (against := HAZARDS[node.op_type].function(node, found)) is not None:
            return against
    elif node.op_type not in MOVES | POINTWISE | WIDE:
        return f"no rule says when {node.op_type} is safe in {form.name}"
    return _of_square(node, found) or _of_constants(node, form) or _of_values(node, form, found)


def shaky_scale(node: ir.Node, form: Format) -> str | None:
    """Why the scale of a Q/DQ node cannot take the narrow type, None where it can."""
    scale = ir.const(node.inputs[1])
    lost = None if scale is None else _loss(np.asarray(scale, np.float32), form)
    name = "?" if node.inputs[1] is None else node.inputs[1].name
    return None if lost is None else f"the scale {name!r} {lost}"


def _of_values(node: ir.Node, form: Format, found: Extents) -> str | None:
    for side, values in (("input", node.inputs), ("output", node.outputs)):
        for value in values:
            if value is None or value.is_initializer() or (extent := found.get(value)) is None:
                continue
            if magnitude(extent) > form.largest:
                return f"its {side} {value.name!r} reaches {_extreme(extent):.3g}; {form.name} ends at {_end(form):.5g}"
            if 0.0 < magnitude(extent) < form.least:
                return f"its {side} {value.name!r} stays within {magnitude(extent):.2g}, where {form.name} loses bits"
    return None


def _of_constants(node: ir.Node, form: Format) -> str | None:
    for index, value in enumerate(node.inputs):
        if value is None or value.dtype != ir.DataType.FLOAT or index in BOUNDS.get(node.op_type, ()):
            continue
        maker = value.producer()
        if maker is not None and maker.op_type == "DequantizeLinear":
            lost = shaky_scale(maker, form)
        else:
            array = ir.const(value)
            bias = BIASES.get(node.op_type) == index
            told = None if array is None else _loss(array, form, small=not bias)
            lost = None if told is None else f"its constant {value.name!r} {told}"
        if lost is not None:
            return lost
    return None


def _loss(array: ir.Array, form: Format, *, small: bool = True) -> str | None:
    """What rounding a constant to the narrow type would lose, beyond the type's usual precision.

    Args:
        small: whether what is lost of small values counts.
    """
    array = ir.distinct(array)
    size = max(float(array.max(initial=0.0)), -float(array.min(initial=0.0)))
    with np.errstate(over="ignore"):
        fits = np.isfinite(nearest(np.array(size), form.dtype.numpy()))
    if not fits:
        return f"reaches {size:.3g}; {form.name} ends at {_end(form):.5g}"
    if not (small and form.least):
        return None
    exact = array.astype(np.float32, copy=False)
    noise = _energy(exact - held(exact, form.dtype.numpy()))
    decibel = math.inf if noise == 0.0 else 10.0 * math.log10(_energy(exact) / noise)
    if decibel >= LOSS_DB:
        return None
    least = float(np.abs(array[array != 0.0]).min(initial=math.inf))
    return f"has values as small as {least:.2g}: {form.name} keeps {decibel:.0f} dB of it"


def _energy(array: ir.Array) -> float:
    """The sum of squares, in float64."""
    return float(np.square(array, dtype=np.float64).sum())


def _of_square(node: ir.Node, found: Extents) -> str | None:
    """x * x is x^2, as Pow is."""
    square = node.op_type == "Mul" and node.inputs[0] is node.inputs[1] and node.inputs[0] is not None
    return _power(node, found) if square else None


@HAZARDS.op("Exp")
def _exponential(node: ir.Node, found: Extents) -> str | None:
    """d exp(x) / exp(x) = dx, and a step of float16 at |x| is |x| / 1024."""
    extent = _input(node, found)
    if extent is None:
        return "the range of its input is not known, and exp leaves float16 from 11 on"
    far = magnitude(extent) > _EXP_STEP
    return f"its input reaches {_extreme(extent):.3g}, where a step of float16 is {_step(extent):.1g}" if far else None


@HAZARDS.op("Softmax", "LogSoftmax")
def _softmax(node: ir.Node, found: Extents) -> str | None:
    extent, axis = _input(node, found), _length(node, [ir.attr_int(node, "axis", -1)])
    if extent is None or axis is None:
        return "the range of its input or the length of its axis is not known"
    if axis > _AXIS:
        return f"it sums {axis} exponentials"
    span = max(extent.hi - extent.lo, magnitude(extent))
    wide = span > _SOFTMAX_SPAN
    return f"its input spans {span:.3g}, where a step of float16 is {_step(extent):.1g}" if wide else None


@HAZARDS.op(
    "LayerNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "RMSNormalization",
    "LpNormalization",
    "MeanVarianceNormalization",
    "LRN",
)
def _normalization(node: ir.Node, found: Extents) -> str | None:
    """Squares of what it normalizes must neither overflow nor vanish."""
    extent = _input(node, found)
    if extent is None:
        return "it squares values whose range is not known"
    size = magnitude(extent)
    return None if 1.0 / _SQUARE < size <= _SQUARE else f"it squares values that reach {_extreme(extent):.3g}"


@HAZARDS.op("ReduceMean", "ReduceSum", "CumSum")
def _sum(node: ir.Node, found: Extents) -> str | None:
    return _total(node, found, 1)


@HAZARDS.op("ReduceL2", "ReduceSumSquare")
def _sum_of_squares(node: ir.Node, found: Extents) -> str | None:
    return _total(node, found, 2)


@HAZARDS.op("ReduceL1", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd")
def _long_reduction(node: ir.Node, found: Extents) -> str | None:
    del found
    return f"what {node.op_type} gathers may overflow"


@HAZARDS.op("Pow")
def _power(node: ir.Node, found: Extents) -> str | None:
    if _input(node, found) is None or node.outputs[0] not in found:
        return "it raises values whose range is not known to a power"
    return None


@HAZARDS.op("Sqrt", "Log")
def _steep_at_zero(node: ir.Node, found: Extents) -> str | None:
    """The slopes of sqrt and log have no bound at 0, where float16's steps stop shrinking."""
    extent = _input(node, found)
    if extent is None:
        return f"the range of its input is not known, and {node.op_type} magnifies errors near 0"
    near = extent.lo < _DIVISOR
    return f"its input comes down to {extent.lo:.2g}, where {node.op_type} magnifies errors" if near else None


@HAZARDS.op("Reciprocal")
def _reciprocal(node: ir.Node, found: Extents) -> str | None:
    return _near_zero(node.inputs[0], found)


@HAZARDS.op("Div")
def _division(node: ir.Node, found: Extents) -> str | None:
    return None if ir.const(node.inputs[1]) is not None else _near_zero(node.inputs[1], found)


@HAZARDS.op("Sin", "Cos", "Tan")
def _periodic(node: ir.Node, found: Extents) -> str | None:
    return _exponential(node, found)


@HAZARDS.op("Floor", "Ceil", "Round", "Mod")
def _integers(node: ir.Node, found: Extents) -> str | None:
    extent = _input(node, found)
    if extent is not None and magnitude(extent) <= _EXACT:
        return None
    return "it makes integers, and float16 holds them only up to 2048"


@HAZARDS.op("LSTM", "GRU", "RNN")
def _recurrence(node: ir.Node, found: Extents) -> str | None:
    del found
    return "its state feeds back, and gathers what rounding leaves from step to step"


def _near_zero(divisor: ir.Value | None, found: Extents) -> str | None:
    extent = None if divisor is None else found.get(divisor)
    if extent is None:
        return "the range of its divisor is not known"
    least = 0.0 if extent.lo <= 0.0 <= extent.hi else min(abs(extent.lo), abs(extent.hi))
    return f"its divisor comes down to {least:.2g}" if least < _DIVISOR else None


def _total(node: ir.Node, found: Extents, power: int) -> str | None:
    """count * max |x|^power bounds what gathers before a mean is divided or a root is taken."""
    extent, count = _input(node, found), _length(node, _axes(node))
    if extent is None or count is None:
        return "the range of its input or the number of its terms is not known"
    total = count * magnitude(extent) ** power
    what = f"{count} terms up to {magnitude(extent) ** power:.3g}"
    return f"it sums {what}" if total > FLOAT16.largest else None


def _axes(node: ir.Node) -> list[int] | None:
    """The axes reduced, None for all; where they are computed they are as good as all."""
    axes = ir.const(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if axes is None or not axes.size else [int(axis) for axis in axes.ravel()]


def _length(node: ir.Node, axes: list[int] | None) -> int | None:
    """The number of elements over the axes of the first input, None where a dim is not known."""
    dims = ir.shape(node.inputs[0])
    if dims is None:
        return None
    chosen = dims if axes is None else [dims[axis] for axis in axes]
    return math.prod(d for d in chosen if isinstance(d, int)) if all(isinstance(d, int) for d in chosen) else None


def _input(node: ir.Node, found: Extents) -> Range | None:
    value = node.inputs[0]
    return None if value is None else found.get(value)


def _extreme(extent: Range) -> float:
    return extent.lo if abs(extent.lo) > abs(extent.hi) else extent.hi


def _step(extent: Range) -> float:
    return float(np.spacing(np.float16(min(magnitude(extent), 32768.0))))


def _end(form: Format) -> float:
    return 4.0 * form.largest
