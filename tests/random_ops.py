"""The table of random models: one function an op, or for a few ops alike; what exporters write out is there as well."""

from __future__ import annotations

import numpy as np
from random_graphs import BOOL, FLOAT, FLOATS, HALF, INT, NUMBERS, Graph, Unfit, Value, op, partner, weight_dims

DATA = (FLOAT, HALF, INT, BOOL)
BOUNDED = ("Sigmoid", "Tanh", "HardSigmoid", "Softsign", "Erf", "Sin", "Cos")
EXACT = ("Relu", "Neg", "Abs")


def small(g: Graph, x: Value) -> Value:
    """A value in -1..1, lest powers and exponentials overflow."""
    return g.add("Tanh", x)


# one in, one out


@op
def bounded(g: Graph) -> None:
    g.add(g.some(BOUNDED), g.take())


@op
def exact_unary(g: Graph) -> None:
    g.add(g.some(EXACT), g.take(), exact=True)


@op
def ramps(g: Graph) -> None:
    kind = g.some(["LeakyRelu", "Elu", "Selu", "Celu", "Softplus", "Mish", "HardSwish", "ThresholdedRelu"])
    g.add(kind, g.take((FLOAT,)))


@op
def gelu(g: Graph) -> None:
    g.add("Gelu", g.take(), approximate=g.some(["none", "tanh"]))


@op
def clipped(g: Graph) -> None:
    x = g.take()
    low, high = g.some([(-1, 1), (0, 6), (0, 1), (-0.5, 2)])
    bounds = [g.number(low, x.dtype), g.number(high, x.dtype)]
    g.add("Clip", x, *g.some([bounds, bounds[:1], ["", bounds[1]]]), exact=True)


@op
def positive_functions(g: Graph) -> None:
    x = g.take()
    more = g.add("Add", g.add("Abs", x), g.number(1, x.dtype))
    g.add(g.some(["Sqrt", "Log", "Reciprocal"]), more)


@op
def exponential(g: Graph) -> None:
    g.add("Exp", small(g, g.take()))


@op
def rounded(g: Graph) -> None:
    g.add(g.some(["Floor", "Ceil", "Round", "Sign"]), g.take(exact=True), exact=True)


@op
def powers(g: Graph) -> None:
    x = small(g, g.take())
    g.add("Pow", x, g.number(g.some([1, 2, 3]), x.dtype))


@op
def square_root_as_power(g: Graph) -> None:
    x = g.add("Abs", g.take((FLOAT,)))
    g.add("Pow", x, g.number(0.5))


@op
def identity(g: Graph) -> None:
    g.add("Identity", g.take(DATA), exact=True)


@op
def dropout(g: Graph) -> None:
    g.add("Dropout", g.take(), outputs=g.some([1, 2]), exact=True)


@op
def prelu(g: Graph) -> None:
    x = g.take(least_rank=2)
    axis = g.axis(x, 1) % x.rank
    g.add("PRelu", x, g.uniform([x.dims[axis] if i == axis else 1 for i in range(axis, x.rank)], x.dtype))


# casts


@op
def cast_up_and_down(g: Graph) -> None:
    x = g.take()
    g.add("Cast", x, to=FLOAT if x.dtype == HALF else HALF, exact=x.dtype == HALF)


@op
def cast_discrete(g: Graph) -> None:
    x = g.take((INT, BOOL))
    g.add("Cast", x, to=g.some([FLOAT, INT, BOOL, HALF]), exact=True)


@op
def cast_to_integers(g: Graph) -> None:
    g.add("Cast", g.take(FLOATS, exact=True), to=g.some([INT, BOOL]))


@op
def cast_like(g: Graph) -> None:
    x = g.take((INT, BOOL))
    g.add("CastLike", x, g.take(NUMBERS), exact=True)


# two in, one out, broadcasting


def pair(g: Graph, dtypes: tuple[int, ...] = FLOATS) -> list[Value | str]:
    x = g.take(dtypes)
    both = [x, partner(g, x)]
    return both if g.chance() else both[::-1]


@op
def arithmetic(g: Graph) -> None:
    g.add(g.some(["Add", "Sub", "Mul"]), *pair(g))


@op
def by_constant(g: Graph) -> None:
    x = g.take()
    weight = g.uniform(weight_dims(g, x), x.dtype)
    kind = g.some(["Add", "Sub", "Mul", "Div"])
    swapped = kind in ("Add", "Mul", "Sub") and g.chance()
    g.add(kind, *([weight, x] if swapped else [x, weight]))


@op
def constants_in_a_row(g: Graph) -> None:
    x = g.take((FLOAT,))
    for kind in ("Mul", "Add", g.some(["Mul", "Div", "Sub"])):
        x = g.add(kind, x, g.uniform(weight_dims(g, x)))


@op
def neutral(g: Graph) -> None:
    x = g.take(NUMBERS)
    kind, number = g.some([("Add", 0), ("Sub", 0), ("Mul", 1), ("Div", 1), ("Mul", 0)])
    g.add(kind, x, g.number(number, x.dtype), exact=True)


@op
def division(g: Graph) -> None:
    x = g.take((FLOAT,))
    g.add("Div", x, g.add("Add", g.add("Abs", g.take((FLOAT,))), g.number(1)))


@op
def extremes(g: Graph) -> None:
    g.add(g.some(["Max", "Min"]), *pair(g, (FLOAT,)), exact=True)


@op
def means(g: Graph) -> None:
    g.add(g.some(["Mean", "Sum"]), *pair(g, (FLOAT,)), *pair(g, (FLOAT,))[:1])


@op
def integers(g: Graph) -> None:
    x = g.take((INT,))
    g.add(g.some(["Add", "Sub", "Mul", "Max"]), x, g.ints(g.some([-2, 0, 1, 3])))


@op
def integer_division(g: Graph) -> None:
    g.add(g.some(["Div", "Mod"]), g.take((INT,)), g.ints(g.some([1, 2, 5])))


# moves


@op
def transpose(g: Graph) -> None:
    x = g.take(DATA, 2)
    g.add("Transpose", x, perm=g.draw_order(x.rank), exact=True)


@op
def transposed_twice(g: Graph) -> None:
    x = g.take(FLOATS, 2)
    once = g.add("Transpose", x, perm=g.draw_order(x.rank), exact=True)
    inner = g.add("Relu", once, exact=True) if g.chance() else once
    g.add("Transpose", inner, perm=g.draw_order(x.rank), exact=True)


@op
def reshape(g: Graph) -> None:
    x = g.take(DATA, 2)
    last = [dim for dim in x.dims[1:] if isinstance(dim, int)]
    if len(last) < x.rank - 1:
        raise Unfit
    size = int(np.prod(last))
    wide = [size] if g.chance() or size % 2 else [size // 2, 2]
    g.add("Reshape", x, g.ints(g.some([0, -1]), *wide), exact=True)


@op
def reshaped_by_its_shape(g: Graph) -> None:
    """What an export writes for `x.view(x.shape[0], -1)`."""
    x = g.take(DATA, 2)
    first = g.add("Gather", g.add("Shape", x), g.weight(np.array(0, np.int64)), axis=0)
    target = g.add("Concat", g.add("Unsqueeze", first, g.ints(0)), g.ints(-1), axis=0)
    g.add("Reshape", x, target, exact=True)


@op
def flat_and_back(g: Graph) -> None:
    x = g.take(FLOATS, 2)
    g.add("Reshape", g.add("Flatten", x, exact=True), g.add("Shape", x), exact=True)


@op
def flatten(g: Graph) -> None:
    x = g.take(DATA, 1)
    g.add("Flatten", x, axis=g.some(range(x.rank + 1)), exact=True)


@op
def unsqueeze(g: Graph) -> None:
    x = g.take(DATA)
    g.add("Unsqueeze", x, g.ints(g.some(range(-x.rank - 1, x.rank + 1))), exact=True)


@op
def squeeze(g: Graph) -> None:
    x = g.take(DATA, 1)
    ones = [axis for axis, dim in enumerate(x.dims) if dim == 1]
    if not ones:
        raise Unfit
    g.add("Squeeze", x, g.ints(g.some(ones)), exact=True)


@op
def unsqueeze_and_back(g: Graph) -> None:
    x = g.take(DATA)
    axes = g.ints(g.some(range(x.rank + 1)))
    g.add("Squeeze", g.add("Unsqueeze", x, axes, exact=True), axes, exact=True)


@op
def sliced(g: Graph) -> None:
    x = g.take(DATA, 1)
    axis = g.axis(x)
    start, end, step = g.some([(0, 2, 1), (1, 1 << 60, 1), (-2, 1 << 60, 1), (0, 1 << 60, 2), (-1, -(1 << 60), -1)])
    g.add("Slice", x, g.ints(start), g.ints(end), g.ints(axis), g.ints(step), exact=True)


@op
def concat(g: Graph) -> None:
    x = g.take(DATA, 1)
    same = [v for v in g.values if v.dtype == x.dtype and v.dims == x.dims]
    g.add("Concat", x, g.some(same), axis=g.axis(x), exact=all(v.exact for v in same))


@op
def split(g: Graph) -> None:
    x = g.take(DATA, 1)
    axis = g.axis(x)
    size = int(x.dims[axis])
    if size < 2:
        raise Unfit
    if g.chance():
        g.add("Split", x, g.ints(1, size - 1), axis=axis, outputs=2, exact=True)
    else:
        g.add("Split", x, axis=axis, num_outputs=2, outputs=2, exact=True)


@op
def gather(g: Graph) -> None:
    x = g.take(DATA, 1)
    g.add("Gather", x, g.weight(np.array(g.some([0, [0], [-1, 0]]), np.int64)), axis=g.axis(x), exact=True)


@op
def gather_by_ids(g: Graph) -> None:
    ids = g.take((INT,))
    table = g.uniform([9, 4])
    g.add("Gather", table, g.add("Mod", g.add("Abs", ids), g.ints(9)), axis=0, exact=True)


@op
def pad(g: Graph) -> None:
    x = g.take((FLOAT,), 1)
    before = [0 if isinstance(dim, str) else g.some([0, 0, 1]) for dim in x.dims]
    mode = g.some(["constant", "edge"])
    value = [g.number(g.some([0, 1]))] if mode == "constant" and g.chance() else []
    g.add("Pad", x, g.ints(*before, *before), *value, mode=mode, exact=True)


@op
def tile(g: Graph) -> None:
    x = g.take(DATA, 1)
    g.add("Tile", x, g.ints(*([1] * (x.rank - 1)), g.some([1, 2])), exact=True)


@op
def expand(g: Graph) -> None:
    x = g.take(DATA, 1)
    g.add("Expand", x, g.ints(*g.some([[1], [2, *[1] * x.rank], [1] * x.rank])), exact=True)


@op
def expanded_like(g: Graph) -> None:
    x = g.take(FLOATS, 1)
    g.add("Expand", g.number(g.some([0, 1.5]), x.dtype), g.add("Shape", x))


@op
def filled_by_shape(g: Graph) -> None:
    x = g.take(FLOATS, 1)
    filled = g.add("ConstantOfShape", g.add("Shape", x), value=g.tensor(g.some([0, 2]), x.dtype))
    g.add("Add", x, filled, exact=True)


@op
def depth_and_space(g: Graph) -> None:
    x = g.take((FLOAT,), 4)
    mode = {"mode": g.some(["DCR", "CRD"])}
    kind = g.some(["DepthToSpace", "SpaceToDepth"])
    halved = x.dims[1:2] if kind == "DepthToSpace" else x.dims[2:]
    if x.rank != 4 or any(isinstance(dim, str) or dim % (4 if len(halved) == 1 else 2) for dim in halved):
        raise Unfit
    g.add(kind, x, blocksize=2, exact=True, **(mode if kind == "DepthToSpace" else {}))


@op
def resize(g: Graph) -> None:
    x = g.take((FLOAT,), 4)
    scales = g.weight(np.array([1, 1, 2, 2], np.float32))
    g.add("Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")


@op
def sequence_order(g: Graph) -> None:
    g.add("CumSum", g.take((INT,), 1), g.weight(np.array(0, np.int64)))


@op
def triangle(g: Graph) -> None:
    g.add("Trilu", g.take(FLOATS, 2), upper=g.some([0, 1]), exact=True)
