"""Normalizations that exporters write out: over the last axes, over channels, over groups of channels."""

from effc.compiler.phase import Step

STEPS: tuple[Step, ...] = ()
