"""Scheme: how a target wants its quantized graph. Declared by a backend, applied by `quantize`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np

from effc.calibration.formats import FLOAT8, limits
from effc.compiler import ir
from effc.compiler.ranges import Range

Spacing = Literal["affine", "symmetric", "float"]
"""Steps of one size anywhere, steps of one size around 0, steps that grow with the value."""


@dataclass(frozen=True)
class QParams:
    """Per-tensor affine parameters: real = scale * (q - zero_point), q in [qmin, qmax] of `dtype`.

    `dtype` is "int8", "uint8", "int16" or "float8_e4m3fn".
    """

    scale: float
    zero_point: int
    dtype: str = "int8"


@dataclass(frozen=True)
class OpRule:
    """How one op is quantized.

    Attributes:
        inputs: positions of float inputs that become quantized activations; None means every float one.
        weight: position of the constant weight, quantized symmetrically; None if there is none.
        weight_axis: a function from the node to the weight's channel axis, None for per-tensor weights.
        bias: position of the bias, which takes scale(input) * scale(weight); None if there is none.
        output: fixed parameters of the outputs, where the kernel demands them.
        inside: the node runs quantized only inside its producer's kernel.
    """

    inputs: tuple[int, ...] | None = None
    weight: int | None = None
    weight_axis: Callable[[ir.Node], int | None] | None = None
    bias: int | None = None
    output: QParams | None = None
    inside: bool = False


MOVERS = frozenset(
    {
        "Concat",
        "DepthToSpace",
        "Flatten",
        "Gather",
        "MaxPool",
        "Reshape",
        "Resize",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
"""Ops that put out values of their inputs, so that both can have one scale."""


def gemm_axis(node: ir.Node) -> int:
    """The axis of a Gemm's weight that counts its outputs."""
    return 0 if ir.attr_int(node, "transB", 0) else 1


def _never(producer: ir.Node, activation: ir.Node) -> bool:
    del producer, activation
    return False


def _accept(node: ir.Node) -> bool:
    del node
    return True


@dataclass(frozen=True)
class Scheme:
    """A target's rules for quantization.

    Attributes:
        activation: "int8", "uint8" or "float8_e4m3fn"; weights are int8 but where it is the last.
        symmetric: zero point 0 for activations.
        bias: "int32" (Q/DQ) or "float".
        ops: ops that run quantized, with their rule. All others stay float.
        same_scale: ops of `ops` whose inputs and outputs share one scale and zero point.
        fused: whether an activation node becomes part of its producer's kernel: no Q/DQ between the two,
            and the range of the last tensor counts.
        accepts: whether this node in particular may run quantized (its op is in `ops` already).
        passive: ops of `ops` that run quantized only beside others that do; None means `same_scale`.
        float_outputs: kernels can put out floats: only what another quantized kernel reads is quantized, and passive
            nodes run quantized only where one reads them.
    """

    name: str
    activation: str = "int8"
    symmetric: bool = False
    bias: str = "int32"
    ops: Mapping[str, OpRule] = field(default_factory=lambda: MappingProxyType({}))
    same_scale: frozenset[str] = frozenset()
    fused: Callable[[ir.Node, ir.Node], bool] = _never
    accepts: Callable[[ir.Node], bool] = _accept
    passive: frozenset[str] | None = None
    float_outputs: bool = False

    @property
    def precision(self) -> str:
        """What a quantized node's precision is called: "int8" or "fp8"."""
        return "fp8" if self.activation == FLOAT8 else "int8"

    @property
    def weight(self) -> str:
        """The weights' element type."""
        return FLOAT8 if self.activation == FLOAT8 else "int8"

    @property
    def followers(self) -> frozenset[str]:
        """Ops that run quantized only beside others that do."""
        return self.same_scale if self.passive is None else self.passive

    @property
    def spacing(self) -> Spacing:
        """How the quantized values lie."""
        return "float" if self.activation == FLOAT8 else "symmetric" if self.symmetric else "affine"

    def qparams(self, observed: Range) -> QParams:
        """Scale and zero point for a range, which is first widened to hold 0 exactly.

        Asymmetric: scale = (hi - lo) / 255, zero_point = round(qmin - lo / scale).
        Symmetric: scale = max(|lo|, |hi|) / 127 (448 for float8), zero_point = 0 (the middle of an unsigned type).
        A range of zero width gets scale 1.
        """
        lo, hi = min(observed.lo, 0.0), max(observed.hi, 0.0)
        held = limits(self.activation)
        if self.symmetric:
            scale = _float32(max(-lo, hi) / (held.hi if self.activation == FLOAT8 else 127.0))
            return QParams(scale, 128 if self.activation == "uint8" else 0, self.activation)
        scale = _float32((hi - lo) / (held.hi - held.lo))
        zero_point = int(np.clip(round(held.lo - lo / scale), held.lo, held.hi))
        return QParams(scale, zero_point, self.activation)


def _float32(scale: float) -> float:
    """The scale as float32 holds it; 1 in place of zero or of what float32 cannot hold normally."""
    tiny = float(np.finfo(np.float32).tiny)
    return float(np.float32(scale)) if scale > tiny else (1.0 if scale <= 0.0 else tiny)
