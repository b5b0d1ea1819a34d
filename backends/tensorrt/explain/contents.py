"""What an engine file consists of: TensorRT-RTX stores generated kernels as text, and room that is only zeros."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_RUN = 256
"""Shorter runs are names, or chance."""
_LARGE = 1.5
_BLOCK = 1 << 24


@dataclass(frozen=True)
class Contents:
    """Bytes of an engine file, of which so many are in long runs of printable text, and of zeros."""

    bytes: int
    text: int
    zeros: int

    @classmethod
    def of(cls, path: Path) -> Contents:
        """Look at the file, a block at a time."""
        data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
        blocks = [data[start : start + _BLOCK] for start in range(0, len(data), _BLOCK)]
        text = sum(_in_runs((b >= 32) & (b < 127) | (b == 9) | (b == 10)) for b in blocks)
        return cls(len(data), text, sum(_in_runs(b == 0) for b in blocks))

    def sentence(self, weights: int) -> str:
        """Why the file is larger than its weights, in bytes; empty where it is not much larger."""
        if self.bytes <= _LARGE * weights:
            return ""
        mb = [f"{count / 1e6:.1f} MB" for count in (self.bytes, weights, self.text, self.zeros)]
        return f"The engine has {mb[0]} for {mb[1]} of weights: {mb[2]} are text of generated kernels, {mb[3]} zeros."


def _in_runs(flags: NDArray[np.bool_]) -> int:
    """How many of the flags stand in runs of _RUN and more."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    lengths = edges[1::2] - edges[::2]
    return int(lengths[lengths >= _RUN].sum())
