"""Resize to sizes that are multiples of the tensor's own is Resize by constant scales: no shapes are computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from effc.compiler import ir
from effc.compiler.passes import shapes
from effc.compiler.passes.rewrite import constant, each, input_at, is_standard, replace
from effc.compiler.phase import Step

Multiple = tuple[str, int] | None
"""A symbol and how many times it is taken; the number itself beside "", None for what is not known."""
Multiples = tuple[Multiple, ...]

_WITHOUT_ROI = ("align_corners", "asymmetric", "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")
_DEPTH = 12
_LONGEST = 8
_EXACT = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT32, ir.DataType.INT64)


def scaled(node: ir.Node) -> bool:
    """Resize(x, sizes=k * shape(x)) is Resize(x, scales=k) for whole numbers k: both give k * n entries of n.

    Where scales are not given they are sizes / dims, which is k, and floor(k * n) is k * n.
    """
    if input_at(node, 3) is None or ir.const(node.inputs[3]) is not None:
        return False
    mode = ir.attr_str(node, "coordinate_transformation_mode", "half_pixel")
    if mode not in _WITHOUT_ROI or ir.attr_str(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return False
    dims, wanted = ir.shape(node.inputs[0]), multiples(node.inputs[3])
    if dims is None or wanted is None:
        return False
    axes = ir.attr_ints(node, "axes", range(len(dims)))
    factors = _factors([dims[axis] for axis in axes], wanted)
    if factors is None:
        return False
    scales = constant(node, "scales", np.array(factors, np.float32))
    return replace(node, "Resize", [node.inputs[0], None, scales], node.attributes)


def _factors(dims: Sequence[int | str], wanted: Multiples) -> list[int] | None:
    """How many times each dim is wanted, where all are whole numbers from 1 on."""
    factors = []
    for dim, each_wanted in zip(dims, wanted, strict=False):
        if each_wanted is None or dim == "?":
            return None
        symbol, number = each_wanted
        if isinstance(dim, str):
            factors.append(number if symbol == dim else 0)
        else:
            factors.append(number // dim if symbol == "" and dim and number % dim == 0 else 0)
    return factors if len(factors) == len(wanted) == len(dims) and min(factors, default=0) > 0 else None


def multiples(value: ir.Value | None, depth: int = 0) -> Multiples | None:
    """The entries of a vector, or a scalar, of sizes as multiples of dims; None where nothing is known of it.

    Floats count as well, as exporters compute sizes in them: floor(2.0 * float(n)) is 2 n below 2 ** 24.
    """
    numbers = ir.const(value)
    if numbers is not None:
        small = numbers.ndim < 2 and numbers.size <= _LONGEST and numbers.dtype.kind in "if"
        return tuple(_number(n) for n in numbers.ravel()) if small else None
    known = shapes.known(value)
    if known is not None and None not in known:
        return tuple((e, 1) if isinstance(e, str) else ("", int(e or 0)) for e in known)
    node = None if value is None else value.producer()
    if node is None or depth > _DEPTH or not is_standard(node) or node.op_type not in _RULES:
        return None
    return _RULES[node.op_type](node, depth + 1)


def _number(number: np.generic) -> Multiple:
    return ("", int(number)) if float(number).is_integer() else None


def _same(node: ir.Node, depth: int) -> Multiples | None:
    """Whole numbers stay what they are, and vectors of them in a change of rank."""
    plain = ir.rank(node.outputs[0]) < 2 and node.outputs[0].dtype in _EXACT
    return multiples(node.inputs[0], depth) if plain else None


def _concat(node: ir.Node, depth: int) -> Multiples | None:
    parts = [multiples(value, depth) for value in node.inputs]
    if any(part is None for part in parts):
        return None
    return tuple(entry for part in parts for entry in part or ())


def _gather(node: ir.Node, depth: int) -> Multiples | None:
    data, indices = multiples(node.inputs[0], depth), ir.const(node.inputs[1])
    if data is None or indices is None or indices.ndim > 1:
        return None
    places = [int(i) for i in indices.flat]
    return tuple(data[i] for i in places) if all(-len(data) <= i < len(data) for i in places) else None


def _slice(node: ir.Node, depth: int) -> Multiples | None:
    data, parts = multiples(node.inputs[0], depth), [ir.const(input_at(node, i)) for i in (1, 2)]
    start, end = parts
    if data is None or start is None or end is None or input_at(node, 4) is not None:
        return None
    return data[int(start.item()) : int(end.item())]


def _times(node: ir.Node, depth: int) -> Multiples | None:
    a, b = (multiples(value, depth) for value in node.inputs)
    if not a or not b or (len(a) != len(b) and 1 not in (len(a), len(b))):
        return None
    size = max(len(a), len(b))
    return tuple(_product(m, n) for m, n in zip(a * (size // len(a)), b * (size // len(b)), strict=True))


def _product(a: Multiple, b: Multiple) -> Multiple:
    if a is None or b is None or (a[0] and b[0]):
        return None
    return (a[0] or b[0], a[1] * b[1])


_RULES: dict[str, Callable[[ir.Node, int], Multiples | None]] = {
    **dict.fromkeys(("Cast", "Floor", "Ceil", "Round", "Identity", "Reshape", "Squeeze", "Unsqueeze"), _same),
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Mul": _times,
}

STEPS = (Step("sizes as scales", each(scaled, "Resize")),)
