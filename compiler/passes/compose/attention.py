"""Scaled dot-product attention that exporters write out, as one op."""

from effc.compiler.phase import Step

STEPS: tuple[Step, ...] = ()
