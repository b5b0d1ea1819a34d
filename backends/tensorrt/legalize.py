"""Legalization: float ONNX to float ONNX in the form that TensorRT's parser takes, each rule an algebraic identity."""

from __future__ import annotations

from effc.compiler.decompose.linear import gemm_form
from effc.compiler.decompose.norms import layer_norm_moments
from effc.compiler.passes.rewrite import Rule, each
from effc.compiler.phase import Phase, Step
from effc.compiler.trained import float_bias, signed
from effc.core.target import Target

_COMMON: tuple[Rule, ...] = (signed, float_bias, layer_norm_moments)
_QUANTIZED: tuple[Rule, ...] = (gemm_form,)


def phases(target: Target) -> tuple[Phase, ...]:
    """The steps for a target, in run order."""
    rules = (*_COMMON, *(_QUANTIZED if target.quantized else ()))
    return (Phase("tensorrt-legalize", tuple(Step(rule.__name__, each(rule)) for rule in rules)),)
