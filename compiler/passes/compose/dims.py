"""Shapes that are equal, as far as dims and numbers of elements tell."""

from __future__ import annotations

from effc.compiler import ir
from effc.compiler.passes.polynomials import widens
from effc.compiler.passes.rewrite import maker

Dims = tuple[int | str, ...]


def fill_alike(a: Dims | None, b: Dims | None) -> bool:
    """Whether two shapes with the same number of elements are equal: one dim may be open, the others tell it."""
    if a is None or b is None or len(a) != len(b) or 0 in a:
        return False
    pairs = [(one, other) for one, other in zip(a, b, strict=True) if one != other or one == "?"]
    return len(pairs) < 2 and not any(isinstance(one, int) and isinstance(other, int) for one, other in pairs)


def expands_within(node: ir.Node, x: ir.Value) -> bool:
    """Whether what an Expand gives fits into the shape of x."""
    target, shape = ir.const(node.inputs[1]), maker(node.inputs[1], "Shape")
    if target is not None:
        return not widens(target.tolist(), x)
    return shape is not None and shape.inputs[0] is x and not shape.attributes
