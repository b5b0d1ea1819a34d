"""Operators that move data: RESHAPE, TRANSPOSE, CONCATENATION, SLICE, PAD, RESIZE and the like."""

from __future__ import annotations

import math

import numpy as np

from effc.backends.tflite.emitter import Call
from effc.backends.tflite.layout import to_last
from effc.backends.tflite.ops.table import FIX, TABLE, needs_constant, needs_rank, needs_static, never, undelegated
from effc.backends.tflite.writer import TensorSpec
from effc.compiler import ir
from effc.compiler.lowering import Why
from effc.compiler.passes.rewrite import input_at


def _check_reshape(node: ir.Node) -> Why | None:
    dims = ir.shape(node.outputs[0])
    if dims is None:
        return Why("the shape that it gives is not known", FIX)
    symbolic = sum(not isinstance(d, int) for d in dims)
    return Why(f"more than one dim of its output {dims} is symbolic", FIX) if symbolic > 1 else None


@TABLE.op("Reshape", "Flatten", "Squeeze", "Unsqueeze", check=_check_reshape)
def reshape(call: Call) -> None:
    """The same elements in other dims."""
    call.emitter.reshape(call.elements(), call.out(), call.out_dims())


@TABLE.op("Transpose")
def transpose(call: Call) -> None:
    """Axes in another order, composed with the layouts of input and output; the identity costs nothing."""
    size = ir.rank(call.value(0))
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


def _check_split(node: ir.Node) -> Why | None:
    axis = ir.attr_int(node, "axis", 0)
    if any(not isinstance((ir.shape(v) or ("?",))[axis], int) for v in node.outputs):
        return Why("it splits an axis of symbolic size", FIX)
    return needs_constant(node, 1)


@TABLE.op("Split", check=_check_split, slow=never("Slice is delegated"))
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


def _check_slice(node: ir.Node) -> Why | None:
    steps = ir.const(node.inputs[4]) if len(node.inputs) > 4 else None
    backwards = steps is not None and any(int(s) < 0 for s in steps.ravel())
    return needs_constant(node, 1, 2, 3, 4) or needs_static(node, first=0 if backwards else 1)


def _slow_slice(node: ir.Node) -> Why | None:
    """Delegated are steps of 1 over dims whose size is known."""
    steps, axes, dims = ir.const(input_at(node, 4)), ir.const(input_at(node, 3)), ir.shape(node.inputs[0]) or ()
    if steps is not None and any(int(step) != 1 for step in steps.ravel()):
        return undelegated("its steps", "steps of 1 are delegated")
    cut = range(len(dims)) if axes is None else [int(axis) for axis in axes.ravel()]
    symbolic = any(not isinstance(dims[axis], int) for axis in cut)
    return undelegated("slices of a symbolic dim", FIX) if symbolic else None


@TABLE.op("Slice", check=_check_slice, slow=_slow_slice)
def slice_(call: Call) -> None:
    """x[start:end:step] along the named axes."""
    size, dims = ir.rank(call.value(0)), call.dims()
    starts, ends = call.ints(1), call.ints(2)
    axes = call.ints(3) if call.given(3) else tuple(range(len(starts)))
    steps = call.ints(4) if call.given(4) else (1,) * len(starts)
    begin, end, stride = [0] * size, list(dims), [1] * size
    whole = {axis for axis in range(size) if dims[axis] < 0}
    for start, stop, step, axis in zip(starts, ends, steps, axes, strict=True):
        at = call.axis(axis)
        begin[at], end[at], stride[at] = _bounds(start, stop, step, dims[at])
        whole.discard(at)
    open_ends = whole | {axis for axis in range(size) if stride[axis] < 0 and end[axis] < 0}
    masks = {"beginMask": sum(1 << a for a in whole), "endMask": sum(1 << a for a in open_ends)}
    vectors = (("begin", begin), ("end", end), ("stride", stride))
    operands = (call.x(), *(call.emitter.int_vector(name, numbers) for name, numbers in vectors))
    call.emit("STRIDED_SLICE", operands, "StridedSlice", 2 if call.integer else 1, **masks)


def _bounds(start: int, stop: int, step: int, size: int) -> tuple[int, int, int]:
    """Start and end clamped as ONNX does; an end of -1 is before the first element for a negative step.

    Where the size is dynamic, the runtime clamps: both go as they are, as far as 32 bits hold them.
    """
    if size < 0:
        limits = np.iinfo(np.int32)
        return max(start, limits.min), min(stop, limits.max), step
    return slice(max(start, -size), stop, step).indices(size)


def _check_pad(node: ir.Node) -> Why | None:
    if ir.attr_str(node, "mode", "constant") not in ("constant", "reflect"):
        return Why(f"padding mode {ir.attr_str(node, 'mode', 'constant')!r} is not lowered", "constant and reflect are")
    pads = ir.const(node.inputs[1])
    if pads is not None and any(int(p) < 0 for p in pads.ravel()):
        return Why("negative padding is not lowered", "write it as Slice")
    return needs_constant(node, 1, 2, 3)


def _slow_pad(node: ir.Node) -> Why | None:
    fill = ir.const(input_at(node, 2))
    if ir.attr_str(node, "mode", "constant") != "constant":
        return undelegated("its mode", "padding with 0 is delegated")
    return undelegated("padding with other than 0") if fill is not None and fill.any() else None


@TABLE.op("Pad", check=_check_pad, slow=_slow_pad)
def pad(call: Call) -> None:
    """Elements added around; in an integer call the padding is the zero point, so that it is zero."""
    size, flat = ir.rank(call.value(0)), call.ints(1)
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


_FORMS = "linear half_pixel, linear align_corners and nearest asymmetric floor have one"
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


def _check_resize(node: ir.Node) -> Why | None:
    if ir.attr_int(node, "antialias", 0) or "axes" in node.attributes:
        return Why("antialias and axes are not lowered", "export Resize without them")
    if _resize_mode(node) not in RESIZES and not _whole_factor(node):
        return Why(f"no TFLite form for mode, coordinates, rounding {_resize_mode(node)}", _FORMS)
    before, after = ir.shape(node.inputs[0]) or (), ir.shape(node.outputs[0]) or ()
    if before[:2] != after[:2]:
        return Why("it resizes batch or channels")
    if _resize_mode(node)[1] == "pytorch_half_pixel" and 1 in after[2:]:
        return Why("pytorch_half_pixel to a size of 1 has no TFLite form")
    if _resize_mode(node)[1] != "align_corners" and not _exact_scales(node):
        return Why("its scales are not the ratio of its sizes, which is what TFLite takes; give it sizes")
    return needs_rank(node, 4) or needs_static(node) or needs_constant(node, 2, 3)


def _whole_factor(node: ir.Node) -> bool:
    """Nearest by a whole factor gives the same pixels with half_pixel rounding and with asymmetric floor."""
    mode, coordinates, rounding = _resize_mode(node)
    if mode != "nearest" or coordinates != "half_pixel" or not rounding.startswith("round"):
        return False
    before, after = ir.static_shape_from(node.inputs[0], 2), ir.static_shape_from(node.outputs[0], 2)
    return before is not None and after is not None and all(b % a == 0 for a, b in zip(before, after, strict=True))


def _exact_scales(node: ir.Node) -> bool:
    """Whether the scales say what the sizes do: in * scale is out without rounding, or nearest takes the same pixels.

    ONNX samples at x / scale where scales are given, TFLite always at x in / out.
    """
    scales = ir.const(node.inputs[2]) if len(node.inputs) > 2 else None
    before, after = ir.static_shape_from(node.inputs[0], 2), ir.static_shape_from(node.outputs[0], 2)
    if scales is None or not scales.size or before is None or after is None:
        return True
    triples = list(zip(before, after, np.asarray(scales[2:], np.float32), strict=True))
    if _resize_mode(node) == ("nearest", "asymmetric", "floor"):
        return all(np.array_equal(np.arange(o) // s, np.arange(o) * i // o) for i, o, s in triples)
    return all(math.isclose(i * s, o, rel_tol=1e-6) for i, o, s in triples)


def _slow_resize(node: ir.Node) -> Why | None:
    return undelegated("nearest", "mode linear is delegated") if _resize_mode(node)[0] == "nearest" else None


@TABLE.op("Resize", check=_check_resize, slow=_slow_resize)
def resize(call: Call) -> None:
    """Height and width resampled. Nearest has no delegate, bilinear has one in all its modes."""
    corners, half = RESIZES.get(_resize_mode(call.node), (False, False))
    size = call.emitter.int_vector("size", call.out_dims()[1:3])
    linear = _resize_mode(call.node)[0] == "linear"
    op, kind = ("RESIZE_BILINEAR", "ResizeBilinear") if linear else ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighbor")
    version = 3 if half else 2 if call.integer else 1
    call.emit(op, (call.x(), size), kind, version, alignCorners=corners, halfPixelCenters=half)


def _check_depth_to_space(node: ir.Node) -> Why | None:
    mode = ir.attr_str(node, "mode", "DCR")
    return None if mode == "DCR" else Why(f"mode {mode} is not lowered", "mode DCR is")


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


def _check_gather(node: ir.Node) -> Why | None:
    indices, dims = ir.const(node.inputs[1]), ir.shape(node.inputs[0])
    if dims is None:
        return Why("the rank of its input is not known", FIX)
    counted_back = indices is not None and any(int(i) < 0 for i in indices.ravel())
    if counted_back and not isinstance(dims[ir.attr_int(node, "axis", 0)], int):
        return Why("it counts from the end of an axis of symbolic size", FIX)
    return None


@TABLE.op("Gather", check=_check_gather, slow=never())
def gather(call: Call) -> None:
    """Entries at the given indices of one axis; a negative constant index counts from the end."""
    axis = ir.attr_int(call.node, "axis", 0) % ir.rank(call.value(0))
    indices = ir.const(call.node.inputs[1])
    chosen = call.x(1)
    if indices is not None:
        wide = np.asarray(indices, np.int32)
        chosen = call.put("indices", np.where(wide < 0, wide + call.dims()[axis], wide).astype(np.int32))
    call.emit("GATHER", (call.x(), chosen), "Gather", 2 if call.integer else 1, axis=axis)


def _check_expand(node: ir.Node) -> Why | None:
    before, after = ir.shape(node.inputs[0]), ir.shape(node.outputs[0])
    if before is None or after is None:
        return Why("the shape that it gives is not known", FIX)
    aligned = (1,) * (len(after) - len(before)) + before
    widened = [b for a, b in zip(aligned, after, strict=True) if a != b]
    return Why("it widens to a symbolic size", FIX) if any(not isinstance(d, int) for d in widened) else None


@TABLE.op("Expand", check=_check_expand, slow=never())
def expand(call: Call) -> None:
    """Broadcast to a shape; copies side by side where a dim is dynamic, which no shape can state."""
    before, after = call.dims(), call.out_dims()
    if min(after, default=1) >= 0:
        shape = call.emitter.int_vector("shape", after)
        call.emit("BROADCAST_TO", (call.x(), shape), "BroadcastTo", 3 if call.integer else 2)
        return
    source, aligned = call.x(), (1,) * (len(after) - len(before)) + before
    if aligned != before:
        source = call.temp("aligned", aligned, call.quant())
        call.emitter.reshape(call.x(), source, aligned)
    repeats = [1 if a == b else b for a, b in zip(aligned, after, strict=True)]
    call.emit("TILE", (source, call.emitter.int_vector("repeats", repeats)), "Tile", 3 if call.integer else 1)


@TABLE.op("Tile", check=lambda node: needs_constant(node, 1), slow=never())
def tile(call: Call) -> None:
    """Copies side by side along each axis."""
    call.emit("TILE", (call.x(), call.emitter.int_vector("repeats", call.ints(1))), "Tile", 3 if call.integer else 1)
