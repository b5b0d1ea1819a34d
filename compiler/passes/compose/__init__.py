"""Several nodes become one larger op, where the opset has it: activations, reductions, normalizations, attention."""

from effc.compiler.passes.compose import (
    activations,
    attention,
    depths,
    logistic,
    magnitudes,
    norms,
    piecewise,
    reductions,
    scales,
)

STEPS = (
    *activations.STEPS,
    *logistic.STEPS,
    *piecewise.STEPS,
    *reductions.STEPS,
    *magnitudes.STEPS,
    *norms.STEPS,
    *scales.STEPS,
    *attention.STEPS,
    *depths.STEPS,
)
