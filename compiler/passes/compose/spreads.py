"""How far values spread: standard deviations and root mean squares that exporters write out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from effc.compiler import ir
from effc.compiler.passes.compose.dims import fill_alike
from effc.compiler.passes.compose.reduced import Reduced, dims_of, reduced
from effc.compiler.passes.compose.reductions import squared
from effc.compiler.passes.rewrite import maker, scalar

_MEANS = ("ReduceMean", "GlobalAveragePool")


@dataclass(frozen=True)
class Spread:
    """A node that gives sqrt(mean((x - centre)^2) + epsilon) along `axes`.

    Attributes:
        centre: the mean of x, None where nothing is taken off.
        power: to which the node's output is multiplied with x - centre: -1, or 1 where it is the reciprocal.
        nodes: those that compute it.
    """

    node: ir.Node
    x: ir.Value
    centre: ir.Value | None
    axes: tuple[int, ...]
    epsilon: float
    power: int
    nodes: tuple[ir.Node, ...]


@dataclass(frozen=True)
class Variance:
    """mean((x - centre)^2) along `axes`, which are kept as 1."""

    x: ir.Value
    centre: ir.Value | None
    axes: tuple[int, ...]
    nodes: tuple[ir.Node, ...]


def spread(node: ir.Node) -> Spread | None:
    """A Sqrt or Pow as the end of a standard deviation or of a root mean square."""
    power, add = _root_power(node), maker(node.inputs[0], "Add")
    epsilon = 0.0 if add is None else scalar(add.inputs[1])
    value = node.inputs[0] if add is None else add.inputs[0]
    if not power or epsilon is None or epsilon < 0.0 or value is None:
        return None
    found = _mean_of_squares(value) or _difference_of_squares(value)
    if found is None:
        return None
    nodes = (node, *((add,) if add is not None else ()), *found.nodes)
    return Spread(node, found.x, found.centre, found.axes, epsilon, power, nodes)


def _root_power(node: ir.Node) -> int:
    if node.op_type == "Sqrt":
        return -1
    return {0.5: -1, -0.5: 1}.get(scalar(node.inputs[1]) or 0.0, 0)


def _mean_of_squares(value: ir.Value) -> Variance | None:
    """mean((x - mean(x))^2), or mean(x^2)."""
    variance = reduced(value, *_MEANS)
    deviation = None if variance is None or not variance.keepdims else squared(variance.x)
    square = None if variance is None else variance.x.producer()
    if variance is None or deviation is None or square is None:
        return None
    difference, nodes = maker(deviation, "Sub"), (variance.node, square)
    mean = None if difference is None else reduced(difference.inputs[1], *_MEANS)
    if difference is None or mean is None or not _is_mean_of(mean, difference.inputs[0], variance) or not mean.keepdims:
        return Variance(deviation, None, variance.axes, nodes)
    return Variance(mean.x, mean.value, variance.axes, (*nodes, difference, mean.node))


def _is_mean_of(mean: Reduced, x: ir.Value | None, like: Reduced) -> bool:
    return mean.x is x and mean.axes == like.axes


def _difference_of_squares(value: ir.Value) -> Variance | None:
    """mean(x^2) - mean(x)^2, not below 0, as JAX computes a variance."""
    between: list[ir.Node] = []
    inner = value
    while (node := maker(inner, "Relu", "Reshape")) is not None and node.inputs[0] is not None:
        between.append(node)
        inner = node.inputs[0]
    difference = maker(inner, "Sub")
    if difference is None:
        return None
    squares, mean = reduced(difference.inputs[0], *_MEANS), reduced(squared(difference.inputs[1]), *_MEANS)
    x, square = None if squares is None else squared(squares.x), difference.inputs[1]
    if squares is None or mean is None or square is None or x is None or not _is_mean_of(mean, x, squares):
        return None
    if mean.keepdims != squares.keepdims or not fill_alike(dims_of(mean, True), ir.shape(value)):
        return None
    centre = next(_kept(mean), None)
    made = [node for node in (square.producer(), squares.x.producer()) if node is not None]
    if centre is None:
        return None
    reshaped = [node] if (node := maker(centre, "Reshape")) is not None else []
    nodes = (*between, difference, squares.node, mean.node, *made, *reshaped)
    return Variance(x, centre, mean.axes, nodes)


def _kept(mean: Reduced) -> Iterator[ir.Value]:
    """The mean with the reduced dims as 1."""
    if mean.keepdims:
        yield mean.value
        return
    for node in mean.value.consumers():
        if node.op_type == "Reshape" and fill_alike(dims_of(mean, True), ir.shape(node.outputs[0])):
            yield node.outputs[0]
