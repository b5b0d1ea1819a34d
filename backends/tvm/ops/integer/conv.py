"""Conv of bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from effc.backends.tvm.ops.finish import finish
from effc.backends.tvm.ops.geometry import Side, flat, sides
from effc.backends.tvm.ops.integer.fold import folded
from effc.backends.tvm.ops.table import INTEGER, Form, Site, family
from effc.backends.tvm.plan import affine
from effc.backends.tvm.plan.group import Group
from effc.backends.tvm.schedules.nest import Kernel
from effc.compiler import ir
from effc.compiler.passes.rewrite import input_at

if TYPE_CHECKING:
    from effc.backends.tvm.schedules.integer.conv import Convolution
    from effc.backends.tvm.schedules.integer.window import Window

_FEW = 4
"""Input channels up to which a convolution reads row-major images as they are."""


def _accepts(node: ir.Node) -> str | None:
    weight = affine.weights(node.inputs[1])
    if affine.activation(node.inputs[0]) is None or weight is None:
        return "it does not read bytes with weights around 0"
    if not weight.single and weight.axis != 0:
        return "its weights have no scale for each output"
    if ir.rank(weight.stored) != 4 or flat(node) is not None:
        return "it is not two-dimensional with known sides"
    if input_at(node, 2) is not None and affine.constant(node.inputs[2]) is None:
        return "its bias is computed"
    if (ir.shape(node.inputs[0]) or ())[1] == 1 and not _is_entry(node):
        return "its image of one channel is not read by words"
    return "it makes one channel" if (ir.shape(weight.stored) or ())[0] == 1 else None


def _is_depthwise(node: ir.Node) -> bool:
    """Whether each channel has a filter of its own."""
    outputs, inputs = (ir.shape(node.inputs[i]) or (0, 0) for i in (1, 0))
    return ir.attr_int(node, "group", 1) == outputs[0] == inputs[1] and outputs[0] > 1


def _forms(node: ir.Node) -> tuple[Form, ...]:
    return (Form.ENTRY,) if _is_entry(node) else (Form.BLOCKED,)


def _is_entry(node: ir.Node) -> bool:
    """Whether the kernel reads a row-major image of few channels as it is, four pixels of a row at once."""
    dims = ir.shape(node.inputs[0]) or ()
    return (
        ir.attr_int(node, "group", 1) == 1 and int(dims[1]) <= _FEW and ir.attr_ints(node, "dilations", (1, 1))[1] == 1
    )


@family("Conv", accepts=_accepts, forms=_forms, table=INTEGER)
def conv(group: Group, site: Site) -> Kernel:
    """Dense, grouped or depthwise."""
    from effc.backends.tvm.schedules.integer import dot
    from effc.backends.tvm.schedules.integer.conv import Convolution, convolution
    from effc.backends.tvm.schedules.integer.depthwise import depthwise
    from effc.backends.tvm.schedules.integer.tiles import ranked

    node = group.anchor
    assert node is not None
    source, held = affine.activation(node.inputs[0]), affine.weights(node.inputs[1])
    assert source is not None and held is not None
    weight = np.asarray(ir.const(held.stored))
    outputs = weight.shape[0]
    given = affine.constant(input_at(node, 2))
    over = window(sides(node, weight.shape[2:]))
    work = Convolution(
        x=site.placed[source.stored],
        zero=int(source.zero.item()),
        weight=weight,
        scale=np.broadcast_to(source.scale * held.scale, (outputs,)).astype(np.float32),
        bias=np.zeros(outputs, np.float32) if given is None else np.asarray(given, np.float32),
        window=over,
    )
    lanes = site.cpu.lanes
    tail, (scale, bias) = folded(finish(group, site), (work.scale, work.bias))
    work = replace(work, scale=scale, bias=bias)
    if _is_depthwise(node):
        return depthwise(work, tail, _columns(over.size[1], site.cpu.registers), dot.of(site.cpu), lanes)
    work = merged(work, ir.attr_int(node, "group", 1), lanes)
    columns = over.size[0] * over.size[1] if over.pointwise else over.size[1]
    tiles = ranked(columns, -(-outputs // lanes // work.groups), site.cpu.registers)
    if site.cpu.dot == "i8mm":  # pixels in pairs
        tiles.sort(key=lambda tile: tile.columns % 2)
    return convolution(work, tail, site.choices.choose(work.words, tiles), dot.of(site.cpu), lanes)


def merged(work: Convolution, groups: int, lanes: int) -> Convolution:
    """A convolution whose groups are whole channel blocks: neighbours joined with zeros between them, else all."""
    outputs, inputs = (n // groups if i == 0 else n for i, n in enumerate(work.weight.shape[:2]))
    found = (m for m in range(1, groups + 1) if groups % m == 0 and not m * outputs % lanes and not m * inputs % lanes)
    together = next(found, groups)
    weight = np.zeros((outputs * groups, inputs * together, *work.weight.shape[2:]), np.int8)
    for g in range(groups):
        rows, columns = slice(g * outputs, (g + 1) * outputs), slice(g % together * inputs, (g % together + 1) * inputs)
        weight[rows, columns] = work.weight[rows]
    return replace(work, weight=weight, groups=groups // together)


def window(over: tuple[Side, Side]) -> Window:
    """How a window moves, as the schedules have it."""
    from effc.backends.tvm.schedules.integer.window import Window

    fields = ((s.taps, s.stride, s.dilation, s.before, s.extent, s.size) for s in over)
    return Window(*zip(*fields, strict=True))


def _columns(width: int, registers: int) -> int:
    """Columns of a depthwise tile: few tiles in a row, then even ones."""
    most = 14 if registers > 16 else 4
    return -(-width // -(-width // most))
