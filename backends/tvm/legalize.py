"""Legalization: float ONNX to float ONNX in the ops that have schedules or that TVM's importer takes."""

from __future__ import annotations

from effc.compiler.passes.rewrite import Rule, each
from effc.compiler.phase import Phase, Step


def phases(precision: str) -> tuple[Phase, ...]:
    """The steps for a precision, in run order."""
    del precision
    return (Phase("tvm-legalize", tuple(Step(rule.__name__, each(rule)) for rule in _RULES), rounds=4),)


_RULES: tuple[Rule, ...] = ()
