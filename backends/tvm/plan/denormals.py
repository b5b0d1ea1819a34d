"""Weights so small that arithmetic with them is slow: some CPUs take a hundred cycles for a denormal number."""

from __future__ import annotations

import numpy as np
import onnx_ir

from effc.compiler import ir

_SMALLEST = np.finfo(np.float32).smallest_normal


def without_denormals(model: ir.Model) -> ir.Model:
    """A new model with 0 in place of constants below 1.2e-38, which moves a sum by less than that times its inputs."""
    model = model.clone()
    for value in model.graph.initializers.values():
        array = ir.const(value)
        if array is None or array.dtype != np.float32:
            continue
        tiny = (np.abs(array) < _SMALLEST) & (array != 0)
        if tiny.any():
            value.const_value = onnx_ir.tensor(np.where(tiny, np.float32(0), array), name=value.name)
    return model
