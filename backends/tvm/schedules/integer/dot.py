"""Dot products of four bytes: `sum[o] += x[0] w[o, 0] + x[1] w[o, 1] + x[2] w[o, 2] + x[3] w[o, 3]`, in int32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from effc.backends.tvm.cpu import Cpu
from effc.backends.tvm.schedules.nest import Buffer, Expr, lanes_of, load, scalar_of, splat
from effc.compiler.ir import Array

WORD = 4
"""Bytes of one step."""
_FLIP = tirx.const(-0x7F7F7F80, "int32")  # 0x80808080

Step = Callable[[Expr, Expr, Expr, int], Expr]
"""(the sums, four activations in each lane, the weights, the lanes) -> the new sums."""


@dataclass(frozen=True)
class Dot:
    """An instruction set's dot product.

    Attributes:
        order: how the bytes of four steps (k) by L outputs lie in a vector of weights, from an array (..., 4, L).
        step: adds the products.
        unsigned: whether the activations are unsigned.
        matrix: whether there is a product of two rows by two columns, for convolutions.
    """

    order: Callable[[Array], Array]
    step: Step
    unsigned: bool
    matrix: bool = False

    def word(self, x: Buffer, *index: Expr | int) -> Expr:
        """Four neighbouring bytes as they are multiplied, whichever type they are stored in."""
        found = T.reinterpret("int32", load(x, *index, lanes=WORD))
        stored = "uint8" if self.unsigned else "int8"
        return found if str(x.dtype) == stored else T.bitwise_xor(found, _FLIP)

    def byte(self, value: Expr) -> Expr:
        """Stored bytes, one or a vector, as they are multiplied: in the lowest bits of int32."""
        lanes = lanes_of(value)
        unsigned = T.reinterpret(as_type("uint8", lanes), value)
        if self.unsigned != scalar_of(value).startswith("u"):
            unsigned = T.bitwise_xor(unsigned, splat(tirx.const(128, "uint8"), lanes))
        return T.cast(unsigned, as_type("int32", lanes))

    def zero(self, zero: int, dtype: str) -> int:
        """The zero point of a tensor stored as `dtype`, as it is multiplied."""
        return zero + (self.unsigned - (dtype == "uint8")) * 128


def as_type(dtype: str, lanes: int) -> str:
    """The type of a vector, or of a scalar: "int32x16"."""
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


def filled(value: int) -> Expr:
    """A word of four equal bytes."""
    return T.reinterpret("int32", splat(tirx.const(value & 255, "uint8"), WORD))


def _by_output(weight: Array) -> Array:
    """Four bytes for each output, side by side."""
    return np.swapaxes(weight, -1, -2).reshape(*weight.shape[:-2], -1)


def _by_pairs(first: tuple[int, int], second: tuple[int, int]) -> Callable[[Array], Array]:
    """Two halves, each with two bytes for each output."""

    def order(weight: Array) -> Array:
        return np.concatenate([_by_output(weight[..., list(pair), :]) for pair in (first, second)], axis=-1)

    return order


def _vnni(total: Expr, words: Expr, weight: Expr, lanes: int) -> Expr:
    name = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}"
    return T.call_llvm_pure_intrin(f"int32x{lanes}", name, total, T.reinterpret(f"int8x{4 * lanes}", words), weight)


def _madd(total: Expr, words: Expr, weight: Expr, lanes: int) -> Expr:
    """The even and the odd bytes as 16-bit numbers, whose products `vpmaddwd` adds in pairs without saturation."""
    name = {16: "llvm.x86.avx512.pmaddw.d.512", 8: "llvm.x86.avx2.pmadd.wd"}[lanes]
    pairs = T.reinterpret(f"uint16x{2 * lanes}", words)
    even = T.bitwise_and(pairs, splat(tirx.const(255, "uint16"), 2 * lanes))
    odd = T.shift_right(pairs, splat(tirx.const(8, "uint16"), 2 * lanes))
    for half, part in enumerate((even, odd)):
        wide = T.cast(_half(weight, half, 2 * lanes), f"int16x{2 * lanes}")
        product = T.call_llvm_pure_intrin(f"int32x{lanes}", name, T.reinterpret(f"int16x{2 * lanes}", part), wide)
        total = total + product
    return total


def _half(vector: Expr, half: int, lanes: int) -> Expr:
    call = T.vectorlow if half == 0 else T.vectorhigh
    return call(f"int8x{lanes}", vector)


def _sdot(total: Expr, words: Expr, weight: Expr, lanes: int) -> Expr:
    name = "llvm.aarch64.neon.sdot.v4i32.v16i8"
    return T.call_llvm_pure_intrin(f"int32x{lanes}", name, total, weight, T.reinterpret(f"int8x{4 * lanes}", words))


def _neon(add_pairs: str) -> Step:
    """`smull` of pairs and a pairwise addition into int32: nothing saturates."""

    def step(total: Expr, words: Expr, weight: Expr, lanes: int) -> Expr:
        for half in range(2):
            moved = T.shift_right(words, splat(tirx.const(16 * half, "int32"), lanes)) if half else words
            bytes_ = T.reinterpret(f"int8x{2 * lanes}", T.cast(moved, f"int16x{lanes}"))
            wide = f"int16x{2 * lanes}"
            product = T.cast(bytes_, wide) * T.cast(_half(weight, half, 2 * lanes), wide)
            total = total + T.call_llvm_pure_intrin(f"int32x{lanes}", add_pairs, product)
        return total

    return step


_DOTS: Mapping[str, Dot] = {
    "vnni": Dot(_by_output, _vnni, unsigned=True),
    "madd": Dot(_by_pairs((0, 2), (1, 3)), _madd, unsigned=True),
    "sdot": Dot(_by_output, _sdot, unsigned=False),
    "i8mm": Dot(_by_output, _sdot, unsigned=False, matrix=True),
    "neon": Dot(_by_pairs((0, 1), (2, 3)), _neon("llvm.aarch64.neon.saddlp.v4i32.v8i16"), unsigned=False),
}
_ARMV7 = Dot(_by_pairs((0, 1), (2, 3)), _neon("llvm.arm.neon.vpaddls.v4i32.v8i16"), unsigned=False)


def of(cpu: Cpu) -> Dot:
    """The CPU's dot product."""
    return _ARMV7 if cpu.machine == "armv7l" else _DOTS[cpu.dot]
