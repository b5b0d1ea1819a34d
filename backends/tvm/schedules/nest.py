"""The few words in which loop nests are written: kernels, buffers, vectors, registers.

Loop nests are built as TIR directly, already tiled, vectorized and unrolled: what a schedule says is what LLVM gets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from effc.backends.tvm.plan.placed import Placed
from effc.compiler.ir import Array

Expr = Any
Buffer = Any
PrimFunc = Any
Index = Sequence[Expr | int]


@dataclass(frozen=True)
class Kernel:
    """One PrimFunc: its arguments are the inputs, then the constants, then the outputs.

    Attributes:
        inputs: stored tensors that it reads.
        constants: packed weights, biases and the like.
        outputs: tensors that it writes.
    """

    function: PrimFunc
    inputs: tuple[Placed, ...]
    constants: tuple[Array, ...]
    outputs: tuple[Placed, ...]


Body = Callable[[Sequence[Buffer], Sequence[Buffer], Sequence[Buffer]], None]
"""Writes the loops, given the inputs', constants' and outputs' buffers."""


@dataclass(frozen=True)
class Arguments:
    """What a kernel reads and writes, as its caller hands it over."""

    inputs: tuple[Placed, ...]
    constants: tuple[Array, ...]
    outputs: tuple[Placed, ...]


def kernel(name: str, given: Arguments, body: Body, seen: Callable[[Placed], Placed] | None = None) -> Kernel:
    """A kernel whose loops `body` writes. A symbolic dim is one variable in all buffers.

    `seen` tells how the loops see each tensor where that is not as it is handed over: the same memory, other dims.
    """
    inputs, constants, outputs = given.inputs, given.constants, given.outputs
    symbols: dict[str, Expr] = {}
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_name(name)
            read = [_argument(f"x{i}", p.memory, p.dtype, symbols) for i, p in enumerate(inputs)]
            held = [_argument(f"c{i}", a.shape, str(a.dtype), symbols) for i, a in enumerate(constants)]
            written = [_argument(f"y{i}", p.memory, p.dtype, symbols) for i, p in enumerate(outputs)]
            with T.sblock("root"):  # relax's passes expect one
                T.reads()
                T.writes()
                read = [_seen(b, p, seen) for b, p in zip(read, inputs, strict=True)]
                written = [_seen(b, p, seen) for b, p in zip(written, outputs, strict=True)]
                body(read, held, written)
        function = builder.get()
    return Kernel(function.with_attr("tirx.noalias", True), inputs, constants, outputs)


def _seen(buffer: Buffer, placed: Placed, seen: Callable[[Placed], Placed] | None) -> Buffer:
    """The buffer as the loops see it: through a view's strides, through `seen`, or as it is."""
    if placed.strides:
        dims = [d if isinstance(d, int) else buffer.shape[0] for d in placed.shape]
        start = tirx.IntImm("int64", placed.offset)
        return T.decl_buffer(dims, placed.dtype, data=buffer.data, strides=list(placed.strides), elem_offset=start)
    found = placed if seen is None else seen(placed)
    return buffer if found.physical == placed.memory else _view(buffer, found)


def _view(buffer: Buffer, placed: Placed) -> Buffer:
    """The same memory with the dims of `placed`, whose symbols are the buffer's own first dim."""
    dims = [d if isinstance(d, int) else buffer.shape[0] for d in placed.physical]
    return T.decl_buffer(dims, placed.dtype, data=buffer.data)


def _argument(name: str, shape: Sequence[int | str], dtype: str, symbols: dict[str, Expr]) -> Buffer:
    dims = [d if isinstance(d, int) else symbols.setdefault(d, tirx.Var(d, "int64")) for d in shape]
    return T.arg(name, T.buffer(dims, dtype))


def load(buffer: Buffer, *index: Expr | int, lanes: int = 1) -> Expr:
    """`lanes` values along the last axis from `index` on, as a vector (a scalar for one lane)."""
    if lanes == 1:
        return buffer[tuple(index)]
    return buffer[(*index[:-1], T.Ramp(index[-1], 1, lanes))]


def store(buffer: Buffer, value: Expr, *index: Expr | int, lanes: int = 1) -> None:
    """Write a vector along the last axis from `index` on."""
    place = index if lanes == 1 else (*index[:-1], T.Ramp(index[-1], 1, lanes))
    T.buffer_store(buffer, value, list(place))


def splat(value: Expr, lanes: int) -> Expr:
    """The scalar in every lane."""
    return value if lanes == 1 else T.Broadcast(value, lanes)


def number(value: float, like: Expr) -> Expr:
    """A constant of the type of `like`."""
    lanes = lanes_of(like)
    return splat(tirx.const(value, scalar_of(like)), lanes)


def lanes_of(value: Expr) -> int:
    """How many lanes the expression has."""
    return int(np.prod([1, *([value.ty.dtype.lanes] if hasattr(value.ty, "dtype") else [])]))


def scalar_of(value: Expr) -> str:
    """The element type of the expression: "float32"."""
    return str(value.ty.dtype).split("x")[0]


def as_type(dtype: str, like: Expr) -> str:
    """The element type with as many lanes as `like` has: "int32x16"."""
    lanes = lanes_of(like)
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


def widened(x: Expr) -> Expr:
    """A float as float32, in which sums of float16 are kept."""
    return x if scalar_of(x) == "float32" else T.cast(x, as_type("float32", x))


def narrowed(x: Expr, dtype: str) -> Expr:
    """A value in the type in which it is stored."""
    return x if scalar_of(x) == dtype else T.cast(x, as_type(dtype, x))


def widest(dtype: str) -> str:
    """The type in which many elements of a type are summed: float32 for float16, else the same."""
    return "float32" if dtype == "float16" else dtype


@dataclass(frozen=True)
class Register:
    """A vector that LLVM keeps in a register: a local array of its own, promoted whatever else is there."""

    buffer: Buffer
    lanes: int

    @property
    def dtype(self) -> str:
        """Its element type."""
        return str(self.buffer.dtype)

    def get(self) -> Expr:
        """Its value."""
        return load(self.buffer, 0, lanes=self.lanes)

    def set(self, value: Expr) -> None:
        """Assign it."""
        store(self.buffer, value, 0, lanes=self.lanes)


def register(lanes: int, dtype: str = "float32") -> Register:
    """A register where the builder stands; one for each call."""
    return Register(scratch((lanes,), dtype), lanes)


def scratch(shape: Sequence[int], dtype: str) -> Buffer:
    """An array on the stack of the thread that runs this place."""
    return T.alloc_buffer(shape, dtype, scope="local", annotations={"disable_lower_builtin": True})


_LAUNCH = 8_000
"""Vector operations below which waking other threads takes longer than the work."""


def tasks(count: Expr | int, work: float) -> AbstractContextManager[Expr]:
    """A loop over independent tasks, on all threads where it is worth it: `work` estimates its vector operations."""
    return T.parallel(0, count) if work >= _LAUNCH else T.serial(0, count)  # type: ignore[no-any-return]


def total(dims: Sequence[Expr | int], known: int | None = None) -> Expr | int:
    """The product of dims; `known` stands for those that are symbols."""
    product: Expr | int = 1
    for dim in dims:
        size = int(dim) if isinstance(dim, (int, tirx.IntImm)) else dim if known is None else known
        product = product * size
    return product


def unravel(task: Expr, dims: Sequence[Expr | int]) -> list[Expr]:
    """The index whose row-major position is `task`."""
    place: list[Expr] = []
    for dim in reversed(dims):
        place.insert(0, task % dim if len(place) < len(dims) - 1 else task)
        task = task // dim
    return place


def shuffle(a: Expr, b: Expr, places: Sequence[int]) -> Expr:
    """The lanes at `places` of two vectors one after the other."""
    return tirx.Shuffle([a, b], list(places))


def repeated(value: Expr, times: int) -> Expr:
    """Each lane `times` times in a row."""
    lanes = lanes_of(value)
    return (
        splat(value, times) if lanes == 1 else tirx.Shuffle([value] * times, [i // times for i in range(lanes * times)])
    )


def transposed(rows: Sequence[Register]) -> None:
    """Exchange rows and lanes of a square of registers: butterflies of growing stride."""
    lanes = len(rows)
    half = 1
    while half < lanes:
        low = [i if not i & half else lanes + i - half for i in range(lanes)]
        high = [i + half if not i & half else lanes + i for i in range(lanes)]
        for i in (i for i in range(lanes) if not i & half):
            a, b = register(lanes, rows[i].dtype), register(lanes, rows[i].dtype)
            a.set(rows[i].get())
            b.set(rows[i + half].get())
            rows[i].set(shuffle(a.get(), b.get(), low))
            rows[i + half].set(shuffle(a.get(), b.get(), high))
        half *= 2


def folded(rows: Sequence[Register]) -> Register:
    """The sum of each register's lanes, as the lanes of one: neighbours are added, of two registers into one."""
    values = list(rows)
    while len(values) > 1:
        values = [_neighbours(a, b) for a, b in zip(values[::2], (*values[1::2], values[-1]), strict=False)]
    many = 1 << (len(rows) - 1).bit_length()
    while values[0].lanes > many:
        values = [_neighbours(values[0])]
    return held(values[0].get() if many == len(rows) else tirx.Shuffle([values[0].get()], list(range(len(rows)))))


def _neighbours(*registers: Register) -> Register:
    """The sums of lanes 0 and 1, 2 and 3, ... of registers one after the other."""
    lanes = sum(r.lanes for r in registers)
    values = [r.get() for r in registers]
    even, odd = (tirx.Shuffle(values, list(range(start, lanes, 2))) for start in (0, 1))
    return held(even + odd)


def held(value: Expr) -> Register:
    """A register with this value."""
    found = register(lanes_of(value), scalar_of(value))
    found.set(value)
    return found
