"""Values that are another tensor's memory seen with other dims: what Transpose, Reshape, Slice and Split put out.

A view costs nothing until somebody reads it, and a kernel that reads through strides needs no copy of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from effc.backends.tvm.plan.placed import Dim, Placed
from effc.compiler import ir


@dataclass(frozen=True)
class View:
    """The element at an index lies at `offset + sum of index * stride` in the row-major memory of `base`.

    Attributes:
        base: the stored value.
        shape: as the value has it; a symbol is the batch.
        strides: for each dim, in elements.
        offset: in elements.
    """

    base: ir.Value
    shape: tuple[Dim, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def is_row_major(self) -> bool:
        """Whether it is the whole of its base in the same order."""
        plain = row_major(self.shape)
        same = all(d == 1 or s == p for d, s, p in zip(self.shape, self.strides, plain or (), strict=True))
        return (
            plain is not None and self.offset == 0 and same and _count(self.shape) == _count(ir.shape(self.base) or ())
        )


def row_major(shape: Sequence[Dim]) -> tuple[int, ...] | None:
    """The strides of a row-major tensor; None where a dim behind the first is a symbol."""
    if not all(isinstance(d, int) for d in shape[1:]):
        return None
    inner = [int(d) for d in reversed(shape[1:])]
    return tuple(reversed([1, *accumulate(inner, lambda a, b: a * b)]))[-len(shape) :] if shape else ()


def permuted(placed: Placed, order: Sequence[int]) -> Placed:
    """A row-major tensor or a view with its dims in another order, dims of 1 put before where it has fewer."""
    missing = len(order) - len(placed.shape)
    strides = (0,) * missing + (placed.strides or row_major(placed.shape) or ())
    shape = (1,) * missing + placed.shape
    return replace(
        placed,
        shape=tuple(shape[o] for o in order),
        strides=tuple(strides[o] for o in order),
        base=placed.memory,
    )


def _count(shape: Sequence[Dim]) -> tuple[int, tuple[str, ...]]:
    return int(np.prod([d for d in shape if isinstance(d, int)], dtype=np.int64)), tuple(
        d for d in shape if isinstance(d, str)
    )


def viewed(node: ir.Node, known: Mapping[ir.Value, View]) -> list[View] | None:
    """What each output of the node is a view of; None where it is none, and must be computed."""
    source = node.inputs[0] if node.inputs else None
    rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if rule is None or source is None or ir.const(source) is not None:
        return None
    start = known.get(source) or _whole(source)
    return None if start is None else rule(node, start)


def _whole(value: ir.Value) -> View | None:
    shape = ir.shape(value)
    strides = None if shape is None else row_major(shape)
    return None if shape is None or strides is None else View(value, shape, strides)


def _transpose(node: ir.Node, view: View) -> list[View] | None:
    rank = len(view.shape)
    perm = ir.attr_ints(node, "perm", tuple(reversed(range(rank))))
    return [View(view.base, tuple(view.shape[p] for p in perm), tuple(view.strides[p] for p in perm), view.offset)]


def _reshape(node: ir.Node, view: View) -> list[View] | None:
    shape = ir.shape(node.outputs[0])
    strides = None if shape is None else _split_and_merged(view, shape)
    return None if shape is None or strides is None else [View(view.base, shape, strides, view.offset)]


def _split_and_merged(view: View, shape: tuple[Dim, ...]) -> tuple[int, ...] | None:
    """Strides of the same elements with other dims, None where no strides give their order.

    Old and new dims are walked in runs of equal size; a run of old dims must lie without gaps.
    """
    old = [(d, s) for d, s in zip(view.shape, view.strides, strict=True) if d != 1]
    new = [d for d in shape if d != 1]
    found: list[int] = []
    while old and new:
        run = _run(old, new)
        if run is None:
            return None
        first, second = run
        dims, strides = zip(*old[:first], strict=True)
        if first == second == 1:
            found.append(strides[0])
        else:
            if any(strides[i] != dims[i + 1] * strides[i + 1] for i in range(first - 1)):
                return None
            plain = row_major((1, *new[:second]))
            assert plain is not None
            found += [strides[-1] * p for p in plain[1:]]
        old, new = old[first:], new[second:]
    taken = iter(found)
    return tuple(next(taken) if d != 1 else 0 for d in shape) if not old and not new else None


def _run(old: Sequence[tuple[Dim, int]], new: Sequence[Dim]) -> tuple[int, int] | None:
    """The fewest leading old and new dims with the same product."""
    if isinstance(old[0][0], str) or isinstance(new[0], str):
        return (1, 1) if old[0][0] == new[0] != "?" else None
    left, right, i, j = int(old[0][0]), int(new[0]), 1, 1
    while left != right:
        if left < right:
            if i == len(old) or isinstance(old[i][0], str):
                return None
            left, i = left * int(old[i][0]), i + 1
        else:
            if j == len(new) or isinstance(new[j], str):
                return None
            right, j = right * int(new[j]), j + 1
    return i, j


def _slice(node: ir.Node, view: View) -> list[View] | None:
    given = [ir.const(v) for v in node.inputs[1:]]
    if any(c is None for c, v in zip(given, node.inputs[1:], strict=True) if v is not None):
        return None
    starts, ends, axes, steps = ([None if c is None else [int(i) for i in c] for c in given] + [None] * 4)[:4]
    shape, strides, offset = list(view.shape), list(view.strides), view.offset
    for i, (first, last) in enumerate(zip(starts or [], ends or [], strict=True)):
        axis = (axes[i] if axes else i) % len(shape)
        size, step = shape[axis], steps[i] if steps else 1
        if not isinstance(size, int):
            return None
        taken = range(size)[slice(first, last if step > 0 or last >= -size else None, step)]
        offset += taken.start * strides[axis]
        shape[axis], strides[axis] = len(taken), strides[axis] * step
    return [View(view.base, tuple(shape), tuple(strides), offset)]


def _split(node: ir.Node, view: View) -> list[View] | None:
    axis = ir.attr_int(node, "axis", 0) % len(view.shape)
    sizes = [(ir.shape(v) or (0,) * (axis + 1))[axis] for v in node.outputs]
    if not all(isinstance(s, int) and s > 0 for s in sizes):
        return None
    found, start = [], 0
    for size in sizes:
        shape = (*view.shape[:axis], size, *view.shape[axis + 1 :])
        found.append(View(view.base, shape, view.strides, view.offset + start * view.strides[axis]))
        start += int(size)
    return found


def _expand(node: ir.Node, view: View) -> list[View] | None:
    shape = ir.shape(node.outputs[0])
    if shape is None or not all(isinstance(d, int) for d in shape):
        return None
    missing = len(shape) - len(view.shape)
    padded, strides = (1,) * missing + view.shape, (0,) * missing + view.strides
    return [
        View(view.base, shape, tuple(0 if p == 1 else s for p, s in zip(padded, strides, strict=True)), view.offset)
    ]


_RULES = {
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Flatten": _reshape,
    "Identity": _reshape,
    "Dropout": lambda node, view: _reshape(node, view) if len(node.outputs) == 1 else None,
    "Slice": _slice,
    "Split": _split,
    "Expand": _expand,
}


def landing(value: ir.Value) -> View | None:
    """The memory of a later value into which `value` can be written at once, so that no copy is needed.

    That is where `value` is read by nothing but a chain of Transpose and Reshape with a Transpose in it: the view of
    `value` in the memory of the chain's end.
    """
    chain: list[ir.Node] = []
    end = value
    while not end.is_graph_output():
        readers = list(end.consumers())
        if len(readers) != 1 or readers[0].op_type not in ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"):
            break
        if readers[0].inputs[0] is not end:
            break
        chain.append(readers[0])
        end = readers[0].outputs[0]
    while (
        chain
        and chain[-1].op_type != "Transpose"
        and ir.const(chain[-1].outputs[0]) is None
        and not _lands(chain, value)
    ):
        chain.pop()
    return _landed(chain, value) if any(n.op_type == "Transpose" for n in chain) else None


def _lands(chain: Sequence[ir.Node], value: ir.Value) -> bool:
    return _landed(chain, value) is not None


def _landed(chain: Sequence[ir.Node], value: ir.Value) -> View | None:
    """The chain walked back from its end."""
    view = _whole(chain[-1].outputs[0])
    for node in reversed(chain):
        before = ir.shape(node.inputs[0])
        if view is None or before is None:
            return None
        if node.op_type == "Transpose":
            perm = ir.attr_ints(node, "perm", tuple(reversed(range(len(before)))))
            order = [perm.index(i) for i in range(len(perm))]
            view = View(view.base, before, tuple(view.strides[o] for o in order), view.offset)
        else:
            strides = _split_and_merged(view, before)
            view = None if strides is None else View(view.base, before, strides, view.offset)
    return view
