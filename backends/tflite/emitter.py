"""Emitter: walks the plan, keeps each value's tensor in either layout, and lets op lowerings write operators.

Transpositions, QUANTIZE and DEQUANTIZE appear where a reader wants a value in a form that nobody made yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from effc.backends.tflite.layout import Layout, to_first, to_last
from effc.backends.tflite.plan import DEQUANTIZE, QUANTIZE, Planned, constant, is_quantized, quantization
from effc.backends.tflite.writer import Array, Quant, TensorSpec, Writer
from effc.compiler import ir
from effc.core.errors import EffcError


@dataclass(frozen=True)
class Constant:
    """A constant operand: its real values and, in an integer call, the stored integers with their scales."""

    values: Array
    integers: Array | None = None
    quant: Quant | None = None


class Emitter:
    """The state of one emission: the writer, the solved layout, and the tensors made so far."""

    def __init__(self, writer: Writer, layout: Layout) -> None:
        self.writer, self.layout = writer, layout
        self._tensors: dict[tuple[ir.Value, bool], int] = {}

    def define(self, value: ir.Value, *, last: bool) -> int:
        """Add a tensor for a value that a graph input or an operator makes."""
        last = last and ir.rank(value) >= 3
        index = self.writer.tensor(self.spec(value, last=last))
        self._tensors[value, last] = index
        return index

    def alias(self, value: ir.Value, other: ir.Value, *, last: bool) -> None:
        """Let a value be the tensor that another one already is."""
        self._tensors[value, last] = self._tensors[other, last]

    def copy(self, value: ir.Value, source: int, *, last: bool) -> int:
        """A tensor of its own with the same elements."""
        target = self.writer.tensor(self.spec(value, last=last))
        self.reshape(source, target, dims(value, last=last))
        return target

    def tensor(self, value: ir.Value, *, last: bool) -> int:
        """The value's tensor in this layout, made from another form of it where needed."""
        last = last and ir.rank(value) >= 3
        if (value, last) not in self._tensors:
            self._tensors[value, last] = self._make(value, last)
        return self._tensors[value, last]

    def in_order(self, value: ir.Value, *, last: bool) -> int:
        """The value's tensor with its elements as in this layout; the other layout's where none would move."""
        held = (value, not last) in self._tensors and (value, last) not in self._tensors
        return self.tensor(
            value, last=last != (held and ir.rank(value) >= 3 and moves_nothing(dims(value, last=False)))
        )

    def spec(self, value: ir.Value, *, last: bool) -> TensorSpec:
        """Name, dims, dtype and quantization of a value's tensor."""
        dtype = ir.numpy_dtype(value)
        quant = _quant(value) if dtype is not None and dtype.name == "int8" and _is_integer_tensor(value) else None
        return TensorSpec(value.name or "", dims(value, last=last), "float32" if dtype is None else dtype.name, quant)

    def int_vector(self, name: str, numbers: Sequence[int]) -> int:
        """An int32 constant vector, as axes, shapes and paddings are given."""
        data = np.asarray(numbers, np.int32)
        return self.writer.constant(TensorSpec(name, (len(data),), "int32"), data)

    def transpose(self, source: int, target: int, perm: Sequence[int]) -> None:
        """Append a TRANSPOSE."""
        options = self.writer.options("Transpose")
        self.writer.op("TRANSPOSE", (source, self.int_vector("perm", perm)), (target,), options, version=2)

    def reshape(self, source: int, target: int, shape: Sequence[int]) -> None:
        """Append a RESHAPE; one dim of `shape` may be -1."""
        options = self.writer.options("Reshape", newShape=np.asarray(shape, np.int32))
        self.writer.op("RESHAPE", (source, self.int_vector("shape", shape)), (target,), options)

    def _make(self, value: ir.Value, last: bool) -> int:
        data = constant(value)
        if data is not None:
            return self._constant(value, data, last)
        if (value, not last) in self._tensors:
            return self._relayout(value, last)
        producer = value.producer()
        if producer is None or producer.op_type not in (QUANTIZE, DEQUANTIZE):
            raise EffcError(f"{value.name!r} is read before it is made", where="tflite emission")
        return self._convert(value, producer, last)

    def _constant(self, value: ir.Value, data: Array, last: bool) -> int:
        spec = self.spec(value, last=last)
        if spec.quant is not None:
            data = _integers(value)
        return self.writer.constant(spec, np.transpose(data, to_last(data.ndim)) if last else data)

    def _relayout(self, value: ir.Value, last: bool) -> int:
        """Bring the value's other layout into this one: a RESHAPE where no element moves, else a TRANSPOSE."""
        source = self._tensors[value, not last]
        target = self.writer.tensor(self.spec(value, last=last))
        shape = dims(value, last=last)
        if moves_nothing(dims(value, last=False)):
            self.reshape(source, target, shape)
        else:
            self.transpose(source, target, to_last(len(shape)) if last else to_first(len(shape)))
        return target

    def _convert(self, value: ir.Value, producer: ir.Node, last: bool) -> int:
        """QUANTIZE or DEQUANTIZE; a Q that repeats its DQ's parameters is the same tensor."""
        source = producer.inputs[0]
        if source is None:
            raise EffcError(f"{producer.op_type} has no input", where="tflite emission")
        if producer.op_type == QUANTIZE and is_quantized(source):
            before = source.producer().inputs[0]  # type: ignore[union-attr]
            if before is not None and same_quantization(before, value):
                return self.tensor(before, last=last)
            source = before if before is not None else source
        made = self._preferred(source, last)
        index = self.writer.tensor(self.spec(value, last=made))
        kind = "Quantize" if producer.op_type == QUANTIZE else "Dequantize"
        version = 1 if kind == "Quantize" and ir.numpy_dtype(source) == np.float32 else 2
        self.writer.op(kind.upper(), (self.tensor(source, last=made),), (index,), self.writer.options(kind), version)
        self._tensors[value, made] = index
        return index if made == last else self._relayout(value, last)

    def _preferred(self, source: ir.Value, last: bool) -> bool:
        """Convert in the layout that exists, so that a transposition moves one byte an element, not four."""
        exists = (source, not last) in self._tensors and (source, last) not in self._tensors
        to_int8 = ir.numpy_dtype(source) == np.float32
        return (not last) if exists and to_int8 else last


class Call:
    """A planned node with what its lowering needs: tensors in the right layout, constants, and the output."""

    def __init__(self, emitter: Emitter, planned: Planned) -> None:
        self.emitter, self.planned = emitter, planned
        self.node, self.integer, self.activation = planned.node, planned.integer, planned.activation
        self.writer = emitter.writer
        self.last = any(emitter.layout.wanted(self.node, i) for i in range(len(self.node.inputs)))
        self.last_out = emitter.layout.of(self.node.outputs[0])
        self._uncut: int | None = None

    def given(self, position: int) -> bool:
        """Whether this optional input is there."""
        return len(self.node.inputs) > position and self.node.inputs[position] is not None

    def value(self, position: int) -> ir.Value:
        """The input as the call reads it: behind its DequantizeLinear in an integer call."""
        value = self.node.inputs[position]
        if value is None:
            raise EffcError(f"input {position} is missing", where=f"{self.node.op_type} {self.node.name!r}")
        if self.integer and is_quantized(value):
            return value.producer().inputs[0] or value  # type: ignore[union-attr]
        return value

    def x(self, position: int = 0) -> int:
        """The input's tensor in the call's layout."""
        return self.emitter.tensor(self.value(position), last=self.last)

    def elements(self, position: int = 0) -> int:
        """The input's tensor for a reader that looks at its elements' order alone."""
        return self.emitter.in_order(self.value(position), last=self.last)

    def dims(self, position: int = 0) -> tuple[int, ...]:
        """The input's dims in the call's layout; -1 for a dynamic one."""
        return dims(self.value(position), last=self.last)

    def out_dims(self, position: int = 0) -> tuple[int, ...]:
        """The output's dims in its layout."""
        return dims(self.planned.outputs[position], last=self.last_out)

    def axis(self, axis: int, position: int = 0) -> int:
        """Where an ONNX axis of the input lies in the call's layout."""
        size = ir.rank(self.value(position))
        return to_last(size).index(axis % size) if self.last else axis % size

    def array(self, position: int) -> Array:
        """A constant input's real values."""
        data = constant(self.node.inputs[position]) if self.node.inputs[position] is not None else None  # type: ignore[arg-type]
        if data is None:
            raise EffcError(f"input {position} is not constant", where=f"{self.node.op_type} {self.node.name!r}")
        return data

    def constant(self, position: int) -> Constant:
        """A constant input with its stored integers where the call is an integer one."""
        values, value = self.array(position), self.value(position)
        if not self.integer or value is self.node.inputs[position]:
            return Constant(values)
        return Constant(values, _integers(value), _quant(value))

    def ints(self, position: int) -> tuple[int, ...]:
        """A constant integer input as a tuple."""
        return tuple(int(n) for n in self.array(position).ravel())

    def put(self, name: str, data: Array, quant: Quant | None = None) -> int:
        """A constant tensor made for this call."""
        return self.writer.constant(TensorSpec(f"{self.node.name}/{name}", data.shape, data.dtype.name, quant), data)

    def quant(self, position: int = 0) -> Quant | None:
        """The quantization of an input, None in a float call."""
        return _quant(self.value(position)) if self.integer else None

    def out_quant(self, position: int = 0) -> Quant | None:
        """The quantization of an output, None in a float call."""
        return _quant(self.planned.outputs[position]) if self.integer else None

    def out(self, position: int = 0) -> int:
        """The output's tensor, added now; where `finish` has to cut it, what is to be cut."""
        if self.planned.bounds is not None and self.cuts(self.planned.bounds):
            self._uncut = self.temp("uncut", self.out_dims(), self.out_quant())
            return self._uncut
        return self._output(position)

    def cuts(self, bounds: tuple[float, float]) -> list[tuple[str, int]]:
        """The operators that clamp the output to `bounds`, with their operand; none where its integers saturate."""
        quant = self.out_quant()
        if quant is None:
            return []
        (lo, hi), scale, zero = bounds, quant.scales[0], quant.zero_points[0]
        found = [("MAXIMUM", lo)] if (-128 - zero) * scale < lo - scale / 2 else []
        found += [("MINIMUM", hi)] if (127 - zero) * scale > hi + scale / 2 else []
        return [(builtin, int(np.clip(np.rint(bound / scale) + zero, -128, 127))) for builtin, bound in found]

    def cut(self, source: int, cuts: Sequence[tuple[str, int]]) -> None:
        """Append these operators from `source`, which has the output's scale, to the output."""
        for number, (builtin, bound) in enumerate(cuts, start=1):
            final = number == len(cuts)
            target = self._output() if final else self.temp("half_cut", self.out_dims(), self.out_quant())
            limit = self.put("bound", np.asarray([bound], np.int8), self.out_quant())
            self.writer.op(builtin, (source, limit), (target,), self.writer.options("MaximumMinimum"), 2)
            source = target

    def finish(self) -> None:
        """Clamp the output where the kernel's saturation was not enough."""
        if self._uncut is not None and self.planned.bounds is not None:
            self.cut(self._uncut, self.cuts(self.planned.bounds))

    def _output(self, position: int = 0) -> int:
        return self.emitter.define(self.planned.outputs[position], last=self.last_out)

    def temp(self, name: str, shape: Sequence[int], quant: Quant | None = None, dtype: str = "") -> int:
        """An intermediate tensor of the call's type."""
        dtype = dtype or ("int8" if self.integer else "float32")
        return self.writer.tensor(TensorSpec(f"{self.node.name}/{name}", tuple(shape), dtype, quant))

    def fused(self) -> int:
        """The fused activation's number."""
        return self.writer.enum("ActivationFunctionType", self.activation or "NONE")

    def emit(self, op: str, inputs: Sequence[int], kind: str = "", version: int = 1, **fields: object) -> None:
        """Append an operator that makes the call's first output, with a `<kind>Options` of these fields."""
        self.writer.op(op, inputs, (self.out(),), self.writer.options(kind, **fields) if kind else None, version)


def dims(value: ir.Value, *, last: bool) -> tuple[int, ...]:
    """Dims in this layout, -1 for a symbolic one."""
    given = [d if isinstance(d, int) else -1 for d in ir.shape(value) or ()]
    return tuple(given[i] for i in to_last(len(given))) if last else tuple(given)


def moves_nothing(shape: Sequence[int]) -> bool:
    """Whether changing the layout of this (N, C, ...) shape leaves every element where it is."""
    return shape[1] == 1 or all(d == 1 for d in shape[2:])


def same_quantization(a: ir.Value, b: ir.Value) -> bool:
    """Whether two quantized values share scale and zero point."""
    return _quant(a) == _quant(b)


def _is_integer_tensor(value: ir.Value) -> bool:
    """Whether an int8 value is quantized data: a Q makes it or a DQ reads it."""
    producer = value.producer()
    made = producer is not None and producer.op_type == QUANTIZE
    return made or any(n.op_type == DEQUANTIZE for n in value.consumers())


def _quant(value: ir.Value) -> Quant:
    scale, zero, axis = quantization(value)
    scales = tuple(float(s) for s in scale.ravel())
    zeros = tuple(int(z) for z in zero.ravel())
    return Quant(scales, zeros * (len(scales) if len(zeros) == 1 else 1), axis if scale.ndim else 0)


def _integers(value: ir.Value) -> Array:
    """The stored integers of a quantized constant; those of a Q over a constant are computed."""
    stored = ir.const(value)
    if stored is not None:
        return stored
    scale, zero, axis = quantization(value)
    data = constant(value)
    if data is None:
        raise EffcError(f"{value.name!r} is not constant", where="tflite emission")
    return quantize_array(data, scale, zero, axis)


def quantize_array(data: Array, scale: Array, zero: Array, axis: int) -> Array:
    """clip(round(x / scale) + zero_point), as QuantizeLinear is defined; the integers' type is the zero point's."""
    shape = [1] * data.ndim
    if scale.size > 1:
        shape[axis] = scale.size
    limits = np.iinfo(zero.dtype.name)
    steps = np.rint(np.asarray(data, np.float32) / np.asarray(scale, np.float32).reshape(shape))
    wide = steps + np.asarray(zero, np.float32).reshape(shape if zero.size > 1 else ())
    return np.asarray(np.clip(wide, limits.min, limits.max), zero.dtype)
