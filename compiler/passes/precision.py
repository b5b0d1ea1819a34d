"""Precision: floats become float16 or bfloat16 in the graph itself, by casts, but where they would overflow or lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from effc.compiler import ir
from effc.compiler.ranges import Range


@dataclass(frozen=True)
class Narrowing:
    """How a target computes in fewer bits.

    Attributes:
        dtype: "float16" or "bfloat16".
        io: whether graph inputs and outputs take the narrow type too.
    """

    dtype: str
    io: bool = False


@dataclass(frozen=True)
class Narrowed:
    """The model with its casts, and what was decided.

    Attributes:
        precision: node name to the type that it computes in.
        kept: node name to the reason why it stays in float32.
    """

    model: ir.Model
    precision: Mapping[str, str]
    kept: Mapping[str, str]


def narrow(
    model: ir.Model, narrowing: Narrowing, ranges: Mapping[str, Range], keep_float: Sequence[str] = ()
) -> Narrowed:
    """A new model whose float tensors are narrow where that is safe; `model` stays as it is.

    Args:
        ranges: least and greatest values by tensor name; tensors without one are judged by weights and rules alone.
        keep_float: globs of node names that stay in float32.
    """
    raise NotImplementedError
