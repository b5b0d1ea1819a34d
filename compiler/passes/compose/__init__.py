"""Several nodes become one larger op, where the opset has it: activations, normalizations."""

from effc.compiler.passes.compose import activations, norms

STEPS = (*activations.STEPS, *norms.STEPS)
