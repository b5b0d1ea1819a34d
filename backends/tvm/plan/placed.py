"""How a tensor lies in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from effc.compiler.ir import Array

Dim = int | str


@dataclass(frozen=True)
class Placed:
    """A tensor and its layout.

    Attributes:
        name: the ONNX value's name.
        shape: as ONNX has it; a symbol is the batch.
        dtype: as stored: "float32", "float16", "int8", "uint8", ...
        block: 0 for row-major; b for NCHWc: axis 1 is split into ceil(C / b) blocks, whose b lanes are the last axis.
            The lanes beyond C hold finite values that nobody may depend on.
        strides: of a view of another row-major tensor's memory, in elements; empty where it is a tensor of its own.
        offset: where the view begins.
        base: that tensor's dims; without strides, those that it is stored with and seen otherwise.
    """

    name: str
    shape: tuple[Dim, ...]
    dtype: str = "float32"
    block: int = 0
    strides: tuple[int, ...] = ()
    offset: int = 0
    base: tuple[Dim, ...] = ()

    @property
    def memory(self) -> tuple[Dim, ...]:
        """The dims of the tensor that is stored."""
        return self.base or self.physical

    @property
    def blocks(self) -> int:
        """How many channel blocks there are."""
        return -(-int(self.shape[1]) // self.block)

    @property
    def physical(self) -> tuple[Dim, ...]:
        """The dims in memory: (N, C, ...), or (N, blocks, ..., b)."""
        if not self.block:
            return self.shape
        return (self.shape[0], self.blocks, *self.shape[2:], self.block)

    def image(self) -> Placed:
        """A sequence (N, C, L) as an image of one row, (N, C, 1, L). Other tensors as they are."""
        return replace(self, shape=(*self.shape[:2], 1, self.shape[2])) if len(self.shape) == 3 else self

    def turned(self) -> Placed:
        """An image of one column as one of one row, the same memory: (N, C, 1, H)."""
        n, c, h, w = self.shape
        return replace(self, shape=(n, c, w, h), base=self.memory)

    def flattened(self) -> Placed:
        """An image as one row: (N, C, 1, H * W). Other tensors as they are."""
        image = self.image()
        if len(image.shape) != 4:
            return self
        n, c, h, w = image.shape
        return replace(image, shape=(n, c, 1, int(h) * int(w)))


def pack(array: Array, block: int, axis: int = 0) -> Array:
    """Split `axis` into (blocks, block), the lanes moved last and filled up with zeros."""
    missing = -array.shape[axis] % block
    widths = [(0, missing if i == axis else 0) for i in range(array.ndim)]
    padded = np.pad(array, widths)
    split = padded.reshape(*padded.shape[:axis], -1, block, *padded.shape[axis + 1 :])
    return np.ascontiguousarray(np.moveaxis(split, axis + 1, -1))
