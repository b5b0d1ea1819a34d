"""Operators that move data: RESHAPE, TRANSPOSE, CONCATENATION, SLICE, PAD, RESIZE and the like."""

from __future__ import annotations

import numpy as np

from effc.backends.tflite.emitter import Call, rank
from effc.backends.tflite.layout import to_last
from effc.backends.tflite.ops.table import TABLE, needs_constant, needs_rank, needs_static
from effc.backends.tflite.writer import TensorSpec
from effc.compiler import ir


def _check_reshape(node: ir.Node) -> str | None:
    dims = ir.shape(node.outputs[0])
    if dims is None:
        return "the shape that it gives is not known"
    symbolic = sum(not isinstance(d, int) for d in dims)
    return f"more than one dim of its output {dims} is symbolic; fix them with --shape" if symbolic > 1 else None


@TABLE.op("Reshape", "Flatten", "Squeeze", "Unsqueeze", check=_check_reshape)
def reshape(call: Call) -> None:
    """The same elements in other dims."""
    call.emitter.reshape(call.elements(), call.out(), call.out_dims())


@TABLE.op("Transpose")
def transpose(call: Call) -> None:
    """Axes in another order, composed with the layouts of input and output; the identity costs nothing."""
    size = rank(call.value(0))
    perm = ir.attr_ints(call.node, "perm", tuple(reversed(range(size))))
    held = to_last(size) if call.last else tuple(range(size))
    wanted = to_last(size) if call.last_out else tuple(range(size))
    composed = tuple(held.index(perm[i]) for i in wanted)
    if composed == tuple(range(size)) or _moves_nothing(call.dims(), composed):
        call.emitter.reshape(call.x(), call.out(), call.out_dims())
    else:
        call.emitter.transpose(call.x(), call.out(), composed)


def _moves_nothing(dims: tuple[int, ...], perm: tuple[int, ...]) -> bool:
    """Whether the dims larger than 1 keep their order."""
    order = [axis for axis in perm if dims[axis] != 1]
    return order == sorted(order)


@TABLE.op("Concat")
def concat(call: Call) -> None:
    """Tensors one behind the other along an axis."""
    axis = call.axis(ir.attr_int(call.node, "axis", 0))
    operands = tuple(call.x(i) for i in range(len(call.node.inputs)))
    version = 2 if call.integer else 1
    call.emit("CONCATENATION", operands, "Concatenation", version, axis=axis, fusedActivationFunction=0)


@TABLE.op("Split", check=lambda node: needs_constant(node, 1))
def split(call: Call) -> None:
    """Consecutive parts along an axis."""
    axis = call.axis(ir.attr_int(call.node, "axis", 0))
    count = len(call.node.outputs)
    sizes = [dims[axis] for dims in (call.out_dims(i) for i in range(count))]
    axis_tensor = call.writer.constant(_scalar_spec(call), np.asarray(axis, np.int32))
    outputs = tuple(call.out(i) for i in range(count))
    operands = (call.x(), call.emitter.int_vector("sizes", sizes), axis_tensor)
    options = call.writer.options("SplitV", numSplits=count)
    call.writer.op("SPLIT_V", operands, outputs, options, 2 if call.integer else 1)


def _scalar_spec(call: Call) -> TensorSpec:
    return TensorSpec(f"{call.node.name}/axis", (), "int32")


def _check_slice(node: ir.Node) -> str | None:
    return needs_constant(node, 1, 2, 3, 4) or needs_static(node)


@TABLE.op("Slice", check=_check_slice)
def slice_(call: Call) -> None:
    """x[start:end:step] along the named axes; STRIDED_SLICE, after a REVERSE_V2 where the step is negative."""
    size, dims = rank(call.value(0)), call.dims()
    starts, ends = call.ints(1), call.ints(2)
    axes = call.ints(3) if call.given(3) else tuple(range(len(starts)))
    steps = call.ints(4) if call.given(4) else (1,) * len(starts)
    begin, end, stride = [0] * size, list(dims), [1] * size
    untouched = 0
    for axis in range(size):
        untouched |= (dims[axis] < 0) << axis
    for start, stop, step, axis in zip(starts, ends, steps, axes, strict=True):
        at = call.axis(axis)
        begin[at], end[at], stride[at] = _bounds(start, stop, step, dims[at])
        untouched &= ~(1 << at)
    end = [max(e, 0) if s > 0 else e for e, s in zip(end, stride, strict=True)]
    end_mask = untouched | sum(1 << a for a in range(size) if stride[a] < 0 and end[a] < 0)
    vectors = (("begin", begin), ("end", end), ("stride", stride))
    operands = (call.x(), *(call.emitter.int_vector(name, numbers) for name, numbers in vectors))
    version = 2 if call.integer else 1
    call.emit("STRIDED_SLICE", operands, "StridedSlice", version, endMask=end_mask, beginMask=untouched)


def _bounds(start: int, stop: int, step: int, size: int) -> tuple[int, int, int]:
    """ONNX's clamped start and end; an end of -1 means before the first element for a negative step."""
    clamped = slice(start if start >= -size else (0 if step > 0 else -size - 1), stop, step)
    return clamped.indices(size)


def _check_pad(node: ir.Node) -> str | None:
    if ir.attr_str(node, "mode", "constant") not in ("constant", "reflect"):
        return f"padding mode {ir.attr_str(node, 'mode', 'constant')!r} is not lowered"
    pads = ir.const(node.inputs[1])
    if pads is not None and any(int(p) < 0 for p in pads.ravel()):
        return "negative padding is not lowered"
    return needs_constant(node, 1, 2, 3)


@TABLE.op("Pad", check=_check_pad)
def pad(call: Call) -> None:
    """Elements added around; in an integer call the padding is the zero point, so that it is zero."""
    size, flat = rank(call.value(0)), call.ints(1)
    axes = call.ints(3) if call.given(3) else tuple(range(size))
    pads = np.zeros((size, 2), np.int32)
    for i, axis in enumerate(axes):
        pads[call.axis(axis)] = flat[i], flat[i + len(axes)]
    amounts = call.put("pads", pads)
    fill = float(call.array(2).ravel()[0]) if call.given(2) else 0.0
    if ir.attr_str(call.node, "mode", "constant") == "reflect":
        call.emit("MIRROR_PAD", (call.x(), amounts), "MirrorPad", 2 if call.integer else 1, mode=0)
    elif fill == 0.0:
        call.emit("PAD", (call.x(), amounts), "Pad", 2 if call.integer else 1)
    else:
        call.emit("PADV2", (call.x(), amounts, _fill(call, fill)), "PadV2", 2 if call.integer else 1)


def _fill(call: Call, fill: float) -> int:
    quant = call.out_quant()
    if quant is None:
        return call.put("fill", np.asarray([max(fill, np.finfo(np.float32).min)], np.float32))
    stored = np.clip(np.rint(fill / quant.scales[0]) + quant.zero_points[0], -128, 127)
    return call.put("fill", np.asarray([stored], np.int8), quant)


RESIZES = {
    ("nearest", "asymmetric", "floor"): (False, False),
    ("linear", "asymmetric", ""): (False, False),
    ("linear", "half_pixel", ""): (False, True),
    ("linear", "pytorch_half_pixel", ""): (False, True),
    ("linear", "align_corners", ""): (True, False),
}


def _resize_mode(node: ir.Node) -> tuple[str, str, str]:
    mode = ir.attr_str(node, "mode", "nearest")
    rounding = ir.attr_str(node, "nearest_mode", "round_prefer_floor") if mode == "nearest" else ""
    return mode, ir.attr_str(node, "coordinate_transformation_mode", "half_pixel"), rounding


def _check_resize(node: ir.Node) -> str | None:
    if ir.attr_int(node, "antialias", 0) or "axes" in node.attributes:
        return "antialias and axes are not lowered"
    if _resize_mode(node) not in RESIZES and not _whole_factor(node):
        return f"no TFLite form for mode, coordinates, rounding {_resize_mode(node)}"
    before, after = ir.shape(node.inputs[0]) or (), ir.shape(node.outputs[0]) or ()
    if before[:2] != after[:2]:
        return "it resizes batch or channels"
    if _resize_mode(node)[1] == "pytorch_half_pixel" and 1 in after[2:]:
        return "pytorch_half_pixel to a size of 1 has no TFLite form"
    return needs_rank(node, 4) or needs_static(node) or needs_constant(node, 2, 3)


def _whole_factor(node: ir.Node) -> bool:
    """Nearest by a whole factor gives the same pixels with half_pixel rounding and with asymmetric floor."""
    mode, coordinates, rounding = _resize_mode(node)
    if mode != "nearest" or coordinates != "half_pixel" or not rounding.startswith("round"):
        return False
    before, after = ir.static_shape_from(node.inputs[0], 2), ir.static_shape_from(node.outputs[0], 2)
    return before is not None and after is not None and all(b % a == 0 for a, b in zip(before, after, strict=True))


@TABLE.op("Resize", check=_check_resize)
def resize(call: Call) -> None:
    """Height and width resampled. Nearest has no delegate, bilinear has one in all its modes."""
    corners, half = RESIZES.get(_resize_mode(call.node), (False, False))
    size = call.emitter.int_vector("size", call.out_dims()[1:3])
    linear = _resize_mode(call.node)[0] == "linear"
    op, kind = ("RESIZE_BILINEAR", "ResizeBilinear") if linear else ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighbor")
    version = 3 if half else 2 if call.integer else 1
    call.emit(op, (call.x(), size), kind, version, alignCorners=corners, halfPixelCenters=half)


def _check_depth_to_space(node: ir.Node) -> str | None:
    mode = ir.attr_str(node, "mode", "DCR")
    return None if mode == "DCR" else f"mode {mode} is not lowered"


@TABLE.op("DepthToSpace", check=_check_depth_to_space)
def depth_to_space(call: Call) -> None:
    """Channels to blocks of pixels, depth first."""
    block = ir.attr_int(call.node, "blocksize", 1)
    call.emit("DEPTH_TO_SPACE", (call.x(),), "DepthToSpace", 2 if call.integer else 1, blockSize=block)


@TABLE.op("SpaceToDepth")
def space_to_depth(call: Call) -> None:
    """Blocks of pixels to channels."""
    block = ir.attr_int(call.node, "blocksize", 1)
    call.emit("SPACE_TO_DEPTH", (call.x(),), "SpaceToDepth", 2 if call.integer else 1, blockSize=block)


@TABLE.op("Gather")
def gather(call: Call) -> None:
    """Entries at the given indices of one axis; a negative constant index counts from the end."""
    axis = ir.attr_int(call.node, "axis", 0) % rank(call.value(0))
    indices = ir.const(call.node.inputs[1])
    chosen = call.x(1)
    if indices is not None:
        wide = np.asarray(indices, np.int32)
        chosen = call.put("indices", np.where(wide < 0, wide + call.dims()[axis], wide).astype(np.int32))
    call.emit("GATHER", (call.x(), chosen), "Gather", 2 if call.integer else 1, axis=axis)


@TABLE.op("Expand", check=_check_reshape)
def expand(call: Call) -> None:
    """Broadcast to a shape."""
    shape = call.emitter.int_vector("shape", call.out_dims())
    call.emit("BROADCAST_TO", (call.x(), shape), "BroadcastTo", 3 if call.integer else 2)


@TABLE.op("Tile", check=lambda node: needs_constant(node, 1))
def tile(call: Call) -> None:
    """Copies side by side along each axis."""
    call.emit("TILE", (call.x(), call.emitter.int_vector("repeats", call.ints(1))), "Tile", 3 if call.integer else 1)
