"""One way to write each thing: constants are initializers, paddings explicit, reshapes constant, no-ops gone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from effc.compiler import ir
from effc.compiler.edit import Before
from effc.compiler.passes import windows
from effc.compiler.passes.rewrite import bypass, constant, each, input_at, maker, replace, same_shape, scalar
from effc.compiler.phase import Step


def constants(model: ir.Model) -> bool:
    """Constant() is an initializer of the same name."""
    from onnx_ir.passes.common import LiftConstantsToInitializersPass

    return bool(LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model).modified)


# no-ops: each tells whether output 0 equals input 0


def _always(node: ir.Node) -> bool:
    return len(node.inputs) == 1


def _dropout(node: ir.Node) -> bool:
    """Dropout(x) is x outside training, where its mask is not read."""
    training = input_at(node, 2)
    return _only_first(node) and (training is None or scalar_bool(training) is False)


def scalar_bool(value: ir.Value | None) -> bool | None:
    """A constant boolean, None for anything else."""
    array = ir.const(value)
    return None if array is None or array.size != 1 else bool(array.ravel()[0])


def _whole(node: ir.Node) -> bool:
    """A part as large as x is x, where nobody takes the empty ones behind it."""
    return _same_shape(node) and _only_first(node)


def _only_first(node: ir.Node) -> bool:
    """Whether nobody takes any output but the first."""
    return not any(out.uses() or out.is_graph_output() for out in node.outputs[1:])


def _cast(node: ir.Node) -> bool:
    """Cast to the type that x has already is x."""
    x = node.inputs[0]
    return x is not None and x.dtype is not None and x.dtype == node.outputs[0].dtype


def _same_shape(node: ir.Node) -> bool:
    """A change of shape into the same shape is none."""
    x = node.inputs[0]
    return x is not None and same_shape(x, node.outputs[0])


def _same_sizes(node: ir.Node) -> bool:
    """A reshape that leaves all dims but one leaves that one as well, also where it is not known."""
    before, after = ir.shape(node.inputs[0]), ir.shape(node.outputs[0])
    if before is None or after is None or len(before) != len(after):
        return False
    others = [a for a, b in zip(before, after, strict=True) if a == b and isinstance(a, int)]
    return (len(others) == len(before) - 1 and 0 not in others) or _same_shape(node)


def _once(node: ir.Node) -> bool:
    """Tile by 1 along every axis is none."""
    return scalar(input_at(node, 1)) == 1.0 or _same_shape(node)


def _transpose(node: ir.Node) -> bool:
    """Transpose with perm 0, 1, 2, ... is none."""
    perm = ir.attr_ints(node, "perm", ())
    return len(perm) > 0 and perm == tuple(range(len(perm)))


def _pad(node: ir.Node) -> bool:
    """Pad by zeros on every side is none."""
    return scalar(input_at(node, 1)) == 0.0


def _slice(node: ir.Node) -> bool:
    """x[0:] with step 1 along every sliced axis is x."""
    x, starts, ends = node.inputs[0], ir.const(node.inputs[1]), ir.const(node.inputs[2])
    dims = None if x is None else ir.shape(x)
    axes_value, steps = input_at(node, 3), input_at(node, 4)
    if starts is None or ends is None or dims is None or (steps is not None and scalar(steps) != 1.0):
        return False
    axes = np.arange(len(starts)) if axes_value is None else ir.const(axes_value)
    if axes is None:
        return False
    return all(s == 0 and _reaches(dims[int(a)], int(e)) for a, s, e in zip(axes, starts, ends, strict=True))


def _reaches(dim: int | str, end: int) -> bool:
    return end >= (dim if isinstance(dim, int) else np.iinfo(np.int32).max)


def _neutral(number: float) -> Callable[[ir.Node], bool]:
    def check(node: ir.Node) -> bool:
        """x * 1, x / 1, x + 0, x - 0, x ** 1 are x where nothing is broadcast."""
        x, array = node.inputs[0], ir.const(node.inputs[1])
        if x is None or array is None or scalar(node.inputs[1]) != number:
            return False
        return _same_shape(node) or _fits(array.shape, ir.shape(x))

    return check


def _fits(shape: tuple[int, ...], dims: tuple[int | str, ...] | None) -> bool:
    """Whether an operand of this shape leaves that of the other as it is."""
    aligned = None if dims is None or len(dims) < len(shape) else dims[len(dims) - len(shape) :]
    return aligned is not None and all(d in (1, other) for d, other in zip(shape, aligned, strict=True))


def _reshape(node: ir.Node) -> bool:
    """Reshape by 0, ..., -1, ... 0 copies all dims but one, so that one as well."""
    target, x = ir.const(input_at(node, 1)), node.inputs[0]
    if target is None or ir.attr_int(node, "allowzero", 0) or ir.shape(x) is None or target.size != ir.rank(x):
        return _same_sizes(node)
    return sorted(target.tolist()) in ([0] * target.size, [-1] + [0] * (target.size - 1)) or _same_sizes(node)


_NO_OPS: dict[str, Callable[[ir.Node], bool]] = {
    **dict.fromkeys(("Identity", "Concat", "Sum", "Max", "Min", "Mean"), _always),
    **dict.fromkeys(("Flatten", "Squeeze", "Unsqueeze"), _same_sizes),
    "Reshape": _reshape,
    "Expand": _same_shape,
    "Tile": _once,
    **dict.fromkeys(("Mul", "Div", "Pow"), _neutral(1.0)),
    **dict.fromkeys(("Add", "Sub"), _neutral(0.0)),
    "Dropout": _dropout,
    "Cast": _cast,
    "Transpose": _transpose,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _whole,
}


def no_op(node: ir.Node) -> bool:
    """f(x) = x: the node goes."""
    x = node.inputs[0] if node.inputs else None
    return x is not None and _NO_OPS[node.op_type](node) and x.dtype == node.outputs[0].dtype and bypass(node, x)


def direct(node: ir.Node) -> bool:
    """Who reads a graph output that is an Identity reads what is behind it."""
    output, source = node.outputs[0], node.inputs[0]
    if not output.is_graph_output() or not output.uses() or source is None:
        return False
    for use in list(output.uses()):
        use.node.replace_input_with(use.idx, source)
    return True


def constant_first(node: ir.Node) -> bool:
    """c + x is x + c, c * x is x * c, and so for Max and Min of two."""
    if len(node.inputs) != 2:
        return False
    a, b = node.inputs
    if a is None or b is None or ir.const(a) is None or ir.const(b) is not None:
        return False
    return replace(node, node.op_type, [b, a])


def cast_like(node: ir.Node) -> bool:
    """CastLike(x, y) is Cast to y's type."""
    kind = None if node.inputs[1] is None else node.inputs[1].dtype
    return kind is not None and replace(node, "Cast", [node.inputs[0]], {**node.attributes, "to": int(kind)})


def filled_parts(node: ir.Node) -> bool:
    """Concat leaves out parts without elements."""
    kept = [value for value in node.inputs if 0 not in (ir.shape(value) or ())]
    return 0 < len(kept) < len(node.inputs) and replace(node, "Concat", kept, node.attributes)


# reshapes


def range_of_scalars(node: ir.Node) -> bool:
    """Range over vectors of one element, which runtimes take and shape inference does not, is one over scalars."""
    if not any(ir.rank(value) for value in node.inputs):
        return False
    before = Before(node)
    shape = before.const("scalar", np.zeros(0, np.int64))
    return replace(node, "Range", [before.op("Reshape", v, shape) if ir.rank(v) else v for v in node.inputs])


def reshape(node: ir.Node) -> bool:
    """Flatten, Squeeze, Unsqueeze and Reshape with one dim unknown are Reshape by a constant with one -1."""
    dims, x = ir.shape(node.outputs[0]), node.inputs[0]
    if dims is None or 0 in dims or _contradicts(node, len(dims)) or sum(not isinstance(d, int) for d in dims) > 1:
        return False
    target = np.array([d if isinstance(d, int) else -1 for d in dims], np.int64)
    now = ir.const(input_at(node, 1))
    is_constant = node.op_type == "Reshape" and "allowzero" not in node.attributes and now is not None
    if is_constant and now is not None and np.array_equal(now, target):
        return False
    return replace(node, "Reshape", [x, constant(node, "shape", target)])


def _contradicts(node: ir.Node, rank: int) -> bool:
    """Whether the node computes another rank than its output, as files may claim falsely of their outputs."""
    wanted = ir.static_shape(input_at(node, 1)) if node.op_type == "Reshape" else None
    return wanted is not None and wanted != (rank,)


def reshape_chain(node: ir.Node) -> bool:
    """Reshape(Reshape(x, a), b) is Reshape(x, b) where b copies no dim."""
    inner, target = maker(node.inputs[0], "Reshape"), ir.const(node.inputs[1])
    if inner is None or target is None or (target == 0).any():
        return False
    return replace(node, "Reshape", [inner.inputs[0], node.inputs[1]])


STEPS = (
    Step("constants to initializers", constants),
    Step("casts to named types", each(cast_like, "CastLike")),
    Step("parts without elements", each(filled_parts, "Concat")),
    Step("no-ops", each(no_op, *_NO_OPS)),
    Step("names of outputs", each(direct, "Identity")),
    Step("constants second", each(constant_first, "Add", "Mul", "Max", "Min")),
    Step("explicit windows", each(windows.explicit, *windows.OPS)),
    Step("ranges of scalars", each(range_of_scalars, "Range")),
    Step("constant reshapes", each(reshape, "Flatten", "Squeeze", "Unsqueeze", "Reshape")),
    Step("chained reshapes", each(reshape_chain, "Reshape")),
)
