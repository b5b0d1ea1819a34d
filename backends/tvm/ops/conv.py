"""Conv, ConvTranspose: dense, grouped, depthwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from effc.backends.tvm.ops.finish import finish
from effc.backends.tvm.ops.frames import of_frames
from effc.backends.tvm.ops.geometry import FLOATS, Side, axis, flat, sides, square
from effc.backends.tvm.ops.table import Form, Site, family
from effc.backends.tvm.plan.group import Group
from effc.backends.tvm.schedules.nest import Kernel
from effc.compiler import ir
from effc.compiler.ir import Array
from effc.compiler.passes.rewrite import input_at

if TYPE_CHECKING:
    from effc.backends.tvm.schedules.conv import Convolution, Part
    from effc.backends.tvm.schedules.finish import Finish
    from effc.backends.tvm.schedules.window import Axis

_FEW = 4
"""Channels up to which a convolution reads or writes row-major images as they are."""


def _accepts(node: ir.Node) -> str | None:
    if of_frames(node) is None:
        return "it is a product of frames"
    constants = [ir.const(value) for value in node.inputs[1:] if value is not None]
    if any(c is None for c in constants):
        return "its weights are not constant"
    if any(c is not None and c.dtype not in FLOATS for c in constants):
        return "it is neither float32 nor float16"
    return flat(node) or (
        "it has one channel" if _channels(node.inputs[0]) == _channels(node.outputs[0]) == 1 else None
    )


def _forms(node: ir.Node) -> tuple[Form, ...]:
    taken, made = _channels(node.inputs[0]), _channels(node.outputs[0])
    grouped = ir.attr_int(node, "group", 1) > 1
    if made == 1:
        return (Form.EXIT,)
    if taken == 1:
        return (Form.ENTRY,)
    if made <= _FEW and not grouped:
        return (Form.EXIT,)
    return (Form.ENTRY, Form.BLOCKED) if taken <= _FEW and not grouped else (Form.BLOCKED,)


def _channels(value: ir.Value | None) -> int:
    assert value is not None
    return int((ir.shape(value) or ())[1])


@family("Conv", accepts=_accepts, forms=_forms)
def conv(group: Group, site: Site) -> Kernel:
    """A convolution."""
    from effc.backends.tvm.schedules.conv import Convolution, Part

    node = group.anchor
    assert node is not None and node.inputs[0] is not None
    weight = square(np.asarray(ir.const(node.inputs[1])))
    x, groups = site.placed[node.inputs[0]], ir.attr_int(node, "group", 1)
    rows, columns = (axis(side) for side in sides(node, np.asarray(ir.const(node.inputs[1])).shape[2:]))
    bias, tail = _bias(node, weight.shape[0]), finish(group, site)
    if columns.extent == columns.size == columns.taps == 1 < rows.size and _has_images(tail):
        x, tail, rows, columns, weight = x.turned(), tail.turned(), columns, rows, weight.swapaxes(2, 3)
    multiple = weight.shape[0] // groups
    if weight.shape[1] == 1 and groups > 1 and x.block % multiple == 0:
        from effc.backends.tvm.schedules.slide import Sliding, depthwise, slide

        rule = depthwise(weight[:, 0], bias, x.dtype, site.cpu.lanes)
        return slide(Sliding(x, rows, columns, multiple), rule, tail, site.cpu.registers)
    return _dense(Convolution(x, (Part(weight, rows, columns),), bias, groups), tail, site)


def _has_images(tail: Finish) -> bool:
    """Whether all that it reads and writes is an image."""
    return all(len(p.shape) == 4 for p in (tail.output, *tail.inputs))


@family("ConvTranspose", accepts=_accepts, forms=_forms)
def conv_transpose(group: Group, site: Site) -> Kernel:
    """A transposed convolution: each phase of its stride is a convolution of the input by some of the taps."""
    from effc.backends.tvm.schedules.conv import Convolution

    node = group.anchor
    assert node is not None and node.inputs[0] is not None
    given, groups = np.asarray(ir.const(node.inputs[1])), ir.attr_int(node, "group", 1)
    split = square(given).reshape(groups, -1, given.shape[1], *square(given).shape[2:])
    weight = np.moveaxis(split, 2, 1).reshape(-1, *np.moveaxis(split, 2, 1).shape[2:])
    parts = tuple(_phases(weight, *sides(node, given.shape[2:], grows=True)))
    work = Convolution(site.placed[node.inputs[0]], parts, _bias(node, weight.shape[0]), groups)
    return _dense(work, finish(group, site), site)


def _dense(work: Convolution, tail: Finish, site: Site) -> Kernel:
    from effc.backends.tvm.schedules.conv import convolution
    from effc.backends.tvm.schedules.project import projection
    from effc.backends.tvm.schedules.tiles import ranked

    if site.form is Form.EXIT:
        return projection(work, tail, site.cpu.lanes)
    lanes, size = site.cpu.lanes, work.columns.size
    columns = size * work.rows.size if work.pointwise else size
    tiles = ranked(columns, -(-work.bias.shape[0] // lanes), site.cpu.registers)
    tile = site.choices.choose(work.words, tiles)
    return convolution(work, tail, tile, lanes)


def _bias(node: ir.Node, channels: int) -> Array:
    bias = ir.const(input_at(node, 2))
    return np.zeros(channels, np.float32) if bias is None else np.asarray(bias)


def _phases(weight: Array, vertical: Side, horizontal: Side) -> Iterator[Part]:
    """Outputs at `phase (mod stride)` are a convolution by the taps `phase + before (mod stride)`, the last first."""
    from effc.backends.tvm.schedules.conv import Part

    spread = np.zeros((*weight.shape[:2], *((s.taps - 1) * s.dilation + 1 for s in (vertical, horizontal))), np.float32)
    spread[:, :, :: vertical.dilation, :: horizontal.dilation] = weight
    for top in range(min(vertical.stride, vertical.size)):
        for left in range(min(horizontal.stride, horizontal.size)):
            down, right = _taps(vertical, top, spread.shape[2]), _taps(horizontal, left, spread.shape[3])
            some = np.zeros((*weight.shape[:2], max(1, len(down)), max(1, len(right))), np.float32)
            some[:, :, : len(down), : len(right)] = spread[:, :, down][:, :, :, right]
            yield Part(some, _phase(vertical, top, len(down)), _phase(horizontal, left, len(right)))


def _taps(side: Side, phase: int, reach: int) -> list[int]:
    """The taps of a phase, the last one first."""
    return list(range((phase + side.before) % side.stride, reach, side.stride))[::-1]


def _phase(side: Side, phase: int, taps: int) -> Axis:
    from effc.backends.tvm.schedules.window import Axis

    before = max(taps, 1) - 1 - (phase + side.before) // side.stride
    return Axis(
        size=-(-(side.size - phase) // side.stride),
        extent=side.extent,
        taps=max(taps, 1),
        before=before,
        start=phase,
        step=side.stride,
    )
