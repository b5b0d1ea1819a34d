"""A model with numbers in place of its symbolic dims, so that what it computes and holds can be counted."""

from __future__ import annotations

from collections.abc import Mapping

from effc.compiler import ir
from effc.compiler.settle import settle
from effc.core.errors import EffcError

Sizes = Mapping[str, int]


def symbols(model: ir.Model) -> tuple[str, ...]:
    """The names of the inputs' symbolic dims, in order of first use."""
    dims = (dim for value in model.graph.inputs for dim in ir.shape(value) or ())
    return tuple(dict.fromkeys(dim for dim in dims if isinstance(dim, str)))


def fixing(value: ir.Value) -> str:
    """What may stand behind `--shape` to fix an input's open dims: 1 for each, the size that is wanted in its place."""
    dims = ir.shape(value)
    wanted = "..." if dims is None else "x".join(str(dim) if isinstance(dim, int) else "1" for dim in dims)
    return f"{value.name}:{wanted}"


def sized(model: ir.Model, at: Sizes) -> ir.Model:
    """The model itself where `at` is empty, else a copy with these dims, shapes inferred again.

    Raises EffcError where no such tensors exist: an image may be too small for the windows that go over it.
    """
    if not at:
        return model
    made = model.clone()
    for value in made.graph.inputs:
        value.shape = ir.Shape([at.get(d, d) if isinstance(d, str) else d for d in ir.shape(value) or ()])
    for value in made.graph.outputs:
        value.shape = ir.Shape([None] * ir.rank(value))
    where = "shape inference at " + ", ".join(f"{name}={size}" for name, size in at.items())
    settle(made, where=where)
    for value in ir.values(made.graph):
        if any(isinstance(dim, int) and dim < 0 for dim in ir.shape(value) or ()):
            raise EffcError(f"{value.name!r} would be {'x'.join(map(str, ir.shape(value) or ()))}", where=where)
    return made
