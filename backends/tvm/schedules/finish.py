"""What follows a kernel's sum before it is stored: a chain of element-wise nodes, on vectors in registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from tvm import tirx

from effc.backends.tvm.plan.placed import Dim, Placed, pack
from effc.backends.tvm.plan.views import permuted
from effc.backends.tvm.schedules.expressions import TABLE
from effc.backends.tvm.schedules.nest import Buffer, Expr, Index, load, splat
from effc.compiler import ir
from effc.compiler.ir import Array

Apply = Callable[[Expr, Index, int], Expr]
"""(the sum, the place of its first lane in the output, lanes) -> what is stored there."""


@dataclass(frozen=True)
class Finish:
    """Element-wise nodes between a kernel's own result and the tensor that it writes.

    Attributes:
        nodes: in order; the last one puts out the stored tensor.
        source: the value that the kernel computes; None where the nodes compute from operands alone.
        output: the stored tensor.
        inputs: stored tensors that the nodes read beside `source`.
        constants: constants that they read, by value name, laid out as the output is.
    """

    nodes: tuple[ir.Node, ...]
    source: ir.Value | None
    output: Placed
    inputs: tuple[Placed, ...]
    arrays: tuple[tuple[str, Array], ...]

    @property
    def constants(self) -> tuple[Array, ...]:
        """The constants alone, in order."""
        return tuple(array for _, array in self.arrays)

    @property
    def flat(self) -> bool:
        """Whether its operands treat an image as one row: each has both sides of the image or neither."""
        sides = [p.shape[2:] for p in self.inputs] + [a.shape[2:4] for a in self.constants]
        whole = self.output.shape[2:]
        return len(whole) == 2 and all(tuple(s) in ((1, 1), whole) for s in sides)

    def image(self) -> Finish:
        """The same on sequences (N, C, L) seen as images of one row."""
        if len(self.output.shape) != 3:
            return self
        arrays = tuple((name, np.expand_dims(a, 2)) for name, a in self.arrays)
        return replace(self, output=self.output.image(), inputs=tuple(p.image() for p in self.inputs), arrays=arrays)

    def turned(self) -> Finish:
        """The same on images of one column seen as images of one row."""
        arrays = tuple((name, np.ascontiguousarray(np.swapaxes(a, 2, 3))) for name, a in self.arrays)
        return replace(self, output=self.output.turned(), inputs=tuple(p.turned() for p in self.inputs), arrays=arrays)

    def flattened(self) -> Finish:
        """The same on images seen as one row."""
        arrays = tuple((name, a.reshape(*a.shape[:2], 1, -1, *a.shape[4:])) for name, a in self.arrays)
        inputs = tuple(p.flattened() for p in self.inputs)
        return replace(self, output=self.output.flattened(), inputs=inputs, arrays=arrays)

    def permuted(self, order: Sequence[int]) -> Finish:
        """The same on row-major tensors whose dims are seen in another order."""
        arrays = tuple((name, np.ascontiguousarray(a.transpose(order))) for name, a in self.arrays)
        inputs = tuple(permuted(p, order) for p in self.inputs)
        return replace(self, output=permuted(self.output, order), inputs=inputs, arrays=arrays)

    def merged(self) -> Finish:
        """The same with neighbouring dims as one wherever all operands have both of them or neither."""
        dims = self.output.physical
        operands = [_aligned(p, self.output) for p in self.inputs] + [a.shape for a in self.constants]
        runs = _runs(dims, operands)

        def joined(placed: Placed, shape: tuple[Dim, ...]) -> Placed:
            return replace(placed, shape=_joined(shape, runs), block=0)

        inputs = tuple(joined(p, _aligned(p, self.output)) for p in self.inputs)
        arrays = tuple((name, a.reshape([int(d) for d in _joined(a.shape, runs)])) for name, a in self.arrays)
        return replace(self, output=joined(self.output, dims), inputs=inputs, arrays=arrays)

    def bind(self, inputs: Sequence[Buffer], constants: Sequence[Buffer]) -> Apply:
        """The chain as a function, once its operands have buffers."""
        reads = {p.name: _stored(p, b, self.output) for p, b in zip(self.inputs, inputs, strict=True)}
        for (name, array), buffer in zip(self.arrays, constants, strict=True):
            reads[name] = _Read(buffer, array.shape, 0)

        def apply(value: Expr, index: Index, lanes: int) -> Expr:
            known: dict[ir.Value | None, Expr] = {None: None}
            if self.source is not None:
                known[self.source] = value
            for node in self.nodes:
                for read in operands(node):
                    if read is not None and read not in known:
                        known[read] = _operand(read, reads, index, lanes)
                value = TABLE[node.op_type].function(node, *(known[v] for v in operands(node)))
                known[node.outputs[0]] = value
            return value

        return apply


def operands(node: ir.Node) -> tuple[ir.Value | None, ...]:
    """What an element-wise node computes from; a scale and a zero point are its parameters."""
    return tuple(node.inputs[:1] if node.op_type in ("QuantizeLinear", "DequantizeLinear") else node.inputs)


@dataclass(frozen=True)
class _Read:
    """An operand's buffer; its dims against the output's physical ones; how many of them stand before the buffer's."""

    buffer: Buffer
    dims: tuple[Dim, ...]
    front: int

    def at(self, index: Index, lanes: int) -> Expr:
        place = [i if d != 1 else 0 for i, d in zip(index, self.dims, strict=True)]
        kept = place[self.front : self.front + len(self.buffer.shape)]
        return splat(self.buffer[tuple(kept)], lanes) if self.dims[-1] == 1 else load(self.buffer, *kept, lanes=lanes)


def _stored(placed: Placed, buffer: Buffer, output: Placed) -> _Read:
    return _Read(buffer, _aligned(placed, output), len(output.shape) - len(placed.shape))


def _aligned(placed: Placed, output: Placed) -> tuple[Dim, ...]:
    """A tensor's physical dims, as many as the output's."""
    missing = len(output.shape) - len(placed.shape)
    lanes = (1,) if output.block and not placed.block else ()  # of one channel, so that only the lanes are missing
    return (*(1,) * missing, *placed.physical, *lanes)


def _runs(dims: Sequence[Dim], operands: Sequence[Sequence[Dim]]) -> list[list[int]]:
    """The axes that are one in all operands, in order; an axis of one element joins any, a symbol none."""
    runs: list[list[int]] = []
    for axis, dim in enumerate(dims):
        last = next((a for a in reversed(runs[-1]) if dims[a] != 1), None) if runs else None
        fixed = isinstance(dim, int) and all(isinstance(dims[a], int) for a in (runs[-1] if runs else []))
        same = last is None or dim == 1 or all((o[axis] == 1) == (o[last] == 1) for o in operands)
        if runs and fixed and same:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs


def _joined(shape: Sequence[Dim], runs: Sequence[Sequence[int]]) -> tuple[Dim, ...]:
    parts = [[shape[axis] for axis in run] for run in runs]
    return tuple(p[0] if isinstance(p[0], str) else int(np.prod([int(d) for d in p])) for p in parts) or (1,)


def _operand(read: ir.Value, reads: dict[str, _Read], index: Index, lanes: int) -> Expr:
    found = reads.get(read.name or "")
    if found is not None:
        return found.at(index, lanes)
    constant = np.asarray(ir.const(read))
    return splat(tirx.const(constant.item(), str(constant.dtype)), lanes)


def layout(constant: Array, output: Placed) -> Array:
    """A constant operand laid out so that it broadcasts against the output's physical dims."""
    full = constant.reshape((1,) * (len(output.shape) - constant.ndim) + constant.shape)
    if not output.block:
        return np.ascontiguousarray(full)
    if full.shape[1] == 1:
        return np.ascontiguousarray(full[..., None])
    return pack(full, output.block, axis=1)
