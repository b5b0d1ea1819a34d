"""Activations that exporters write out: GELU, Swish, Mish and their like."""

from effc.compiler.phase import Step

STEPS: tuple[Step, ...] = ()
