"""Which input elements a Resize reads, as ONNX Runtime computes it: coordinates in float32. Imports no TVM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effc.compiler import ir
from effc.compiler.passes.rewrite import input_at

Floats = NDArray[np.float32]
Index = NDArray[np.int32]


def coordinates(node: ir.Node, axis: int) -> Floats:
    """The input coordinate of each output of an axis, before it is held inside."""
    extent, size = sizes(node, axis)
    mode = ir.attr_str(node, "coordinate_transformation_mode", "half_pixel")
    return _COORDINATES[mode](np.arange(size, dtype=np.float32), np.float32(scale(node, axis)), extent, size)


def nearest(node: ir.Node, axis: int) -> Index:
    """The input element that each output of an axis takes."""
    place = _NEAREST[ir.attr_str(node, "nearest_mode", "round_prefer_floor")](coordinates(node, axis))
    return np.asarray(np.clip(place, 0, sizes(node, axis)[0] - 1), np.int32)


def is_plain(node: ir.Node) -> bool:
    """Whether it neither crops, nor smooths, nor keeps an aspect ratio, and its parameters are constant."""
    if any(v is not None and ir.const(v) is None for v in node.inputs[1:]) or ir.attr_int(node, "antialias", 0):
        return False
    mode = ir.attr_str(node, "coordinate_transformation_mode", "half_pixel")
    return mode in _COORDINATES and ir.attr_str(node, "keep_aspect_ratio_policy", "stretch") == "stretch"


def sizes(node: ir.Node, axis: int) -> tuple[int, int]:
    """How many inputs and outputs an axis has."""
    extent, size = (int((ir.shape(v) or ())[axis]) for v in (node.inputs[0], node.outputs[0]))
    return extent, size


def scale(node: ir.Node, axis: int) -> float:
    """The scale given for an axis; where sizes are given, their ratio."""
    scales = ir.const(input_at(node, 2))
    if scales is None or not scales.size:
        extent, size = sizes(node, axis)
        return size / extent
    rank = len(ir.shape(node.inputs[0]) or ())
    axes = [a % rank for a in ir.attr_ints(node, "axes", range(rank))]
    return float(scales[axes.index(axis)]) if axis in axes else 1.0


def _half_pixel(at: Floats, scale: np.float32, extent: int, size: int) -> Floats:
    del extent, size
    return (at + np.float32(0.5)) / scale - np.float32(0.5)


def _pytorch(at: Floats, scale: np.float32, extent: int, size: int) -> Floats:
    return _half_pixel(at, scale, extent, size) if size > 1 else np.zeros_like(at)


def _symmetric(at: Floats, scale: np.float32, extent: int, size: int) -> Floats:
    shift = np.float32(extent / 2) * (np.float32(1) - np.float32(size) / (scale * np.float32(extent)))
    return _half_pixel(at, scale, extent, size) + shift


def _corners(at: Floats, scale: np.float32, extent: int, size: int) -> Floats:
    del scale
    return at * np.float32(extent - 1) / np.float32(size - 1) if size > 1 else np.zeros_like(at)


def _asymmetric(at: Floats, scale: np.float32, extent: int, size: int) -> Floats:
    del extent, size
    return at / scale


_COORDINATES: dict[str, Callable[[Floats, np.float32, int, int], Floats]] = {
    "half_pixel": _half_pixel,
    "pytorch_half_pixel": _pytorch,
    "half_pixel_symmetric": _symmetric,
    "align_corners": _corners,
    "asymmetric": _asymmetric,
}
"""Input coordinate of output coordinates (ONNX, Resize), in float32 as ONNX Runtime computes them."""
_NEAREST: dict[str, Callable[[Floats], NDArray[Any]]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda at: np.ceil(at - np.float32(0.5)),
    "round_prefer_ceil": lambda at: np.floor(at + np.float32(0.5)),
}
