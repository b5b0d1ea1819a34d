"""TVM's kernels on images in channel blocks: pools, resizes, pads, concatenations, broadcasts, changes of layout."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from tvm_cases import Case, Outcomes, outcomes

from effc.compiler import metrics

Sizes = Sequence[int]


def pool(op: str, channels: int, size: Sizes, attributes: str) -> Case:
    """With a tail that changes the sign."""
    name = f"{op} {channels} {size} {attributes}"
    return Case(name, f"t = {op}<{attributes}>(a); y = Neg(t)", {"a": ("N", channels, *size)})


def whole(op: str, channels: int, size: Sizes, keep: int) -> Case:
    """A reduction over the image."""
    axes = {"x": np.arange(2, 2 + len(size))}
    name = f"{op} {channels} {size} {keep}"
    return Case(name, f"t = {op}<keepdims={keep}>(a, x); y = Neg(t)", {"a": ("N", channels, *size)}, axes)


def scaled(size: Sizes, scales: Sequence[float], attributes: str, channels: int = 24) -> Case:
    """Resize by scales."""
    body = f"t = Resize<{attributes}>(a, , s); y = Neg(t)"
    held = {"s": np.float32([1, 1, *scales])}
    return Case(f"Resize {size} by {scales} {attributes}", body, {"a": (2, channels, *size)}, held)


def sized(size: Sizes, to: Sizes, attributes: str, channels: int = 24) -> Case:
    """Resize to a size."""
    body = f"t = Resize<{attributes}>(a, , , z); y = Neg(t)"
    held = {"z": np.array([2, channels, *to])}
    return Case(f"Resize {size} to {to} {attributes}", body, {"a": (2, channels, *size)}, held)


def pad(pads: Sizes, attributes: str, size: Sizes = (6, 7)) -> Case:
    """Pad by 0.5, or by the image."""
    held = {"p": np.array(pads), "v": np.float32(0.5)}
    body = f"t = Pad<{attributes}>(a, p, v); y = Neg(t)"
    return Case(f"Pad {size} {pads} {attributes}", body, {"a": (2, 20, *size)}, held)


def concat(*channels: int) -> Case:
    """Channels one after the other."""
    names = [f"a{i}" for i in range(len(channels))]
    body = f"t = Concat<axis=1>({', '.join(names)}); y = Neg(t)"
    return Case(f"Concat {channels}", body, {n: ("N", c, 5, 6) for n, c in zip(names, channels, strict=True)})


def gated(channels: int, size: Sizes) -> Case:
    """An image times its channels' means, a plane and a constant for each channel; in blocks, and back."""
    body = (
        "x = MaxPool<kernel_shape=[1,1]>(a); g = GlobalAveragePool(x); h = Sigmoid(g); m = Mul(x, h); u = Mul(m, p);"
        "v = Add(u, s); y = MaxPool<kernel_shape=[1,1]>(v)"
    )
    held = {"s": np.random.default_rng(1).standard_normal((channels, 1, 1))}
    return Case(f"gate {channels} {size}", body, {"a": ("N", channels, *size), "p": ("N", 1, *size)}, held)


POOLS = [
    *(pool("MaxPool", c, (14, 13), "kernel_shape=[2,2], strides=[2,2]") for c in (12, 16, 40)),
    pool("MaxPool", 20, (13, 11), "kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]"),
    pool("MaxPool", 20, (13, 11), "kernel_shape=[3,3], strides=[2,2], ceil_mode=1"),
    pool("MaxPool", 20, (13, 11), "kernel_shape=[3,3], dilations=[2,2], pads=[2,2,2,2]"),
    pool("MaxPool", 20, (13, 11), 'kernel_shape=[1,5], strides=[1,2], auto_pad="SAME_UPPER"'),
    pool("MaxPool", 20, (12, 11), 'kernel_shape=[4,2], strides=[3,2], auto_pad="SAME_LOWER"'),
    pool("MaxPool", 20, (40,), "kernel_shape=[3], strides=[2]"),
    pool("MaxPool", 16, (8, 30), "kernel_shape=[13,13], pads=[6,6,6,6]"),
    *(
        pool("AveragePool", 20, size, f"kernel_shape={taps}, count_include_pad={counted}, {rest}")
        for counted in (0, 1)
        for size, taps, rest in (
            ((13, 11), [3, 3], "pads=[1,1,1,1]"),
            ((13, 12), [3, 3], "strides=[2,2], ceil_mode=1"),
            ((13, 12), [3, 3], "strides=[2,2], ceil_mode=1, pads=[1,1,0,0]"),
            ((13, 40), [3, 2], 'strides=[3,2], auto_pad="SAME_UPPER"'),
            ((40,), [4], "strides=[2], pads=[1,2]"),
            ((3, 3), [7, 7], "pads=[3,3,3,3]"),
        )
    ),
    *(whole(op, c, (7, 7), keep) for op in ("ReduceMean", "ReduceMax") for c in (12, 16, 40) for keep in (0, 1)),
    whole("ReduceSum", 24, (1, 3), 0),
    Case("GlobalMaxPool", "y = GlobalMaxPool(a)", {"a": ("N", 20, 50)}),
]
MODES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
RESIZED = [
    *(
        sized((5, 7), (7, 13), f'mode="nearest", coordinate_transformation_mode="{m}", nearest_mode="{r}"')
        for m in MODES
        for r in ROUNDINGS
    ),
    scaled((5, 7), (2, 2), 'mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"'),
    *(sized((9, 7), (7, 17), f'mode="linear", coordinate_transformation_mode="{m}"') for m in MODES),
    *(scaled((9, 7), (1.3, 0.6), f'mode="linear", coordinate_transformation_mode="{m}"') for m in MODES),
    scaled((9,), (2,), 'mode="linear"'),
    sized((5, 5), (1, 1), 'mode="linear", coordinate_transformation_mode="pytorch_half_pixel"'),
]
PADDED = [
    *(pad((0, 0, 1, 2, 0, 0, 3, 0), f'mode="{mode}"') for mode in ("constant", "edge", "reflect", "wrap")),
    pad((0, 0, -1, 2, 0, 0, 3, -1), 'mode="constant"'),
    pad((0, 0, 1, 0, 0, 3), 'mode="constant"', (30,)),
]
JOINED = [
    concat(*channels)
    for channels in ((16, 16), (24, 24, 24, 24), (16, 24), (24, 16), (12, 20, 2), (40, 40, 8), (5, 64))
]
GATED = [gated(c, size) for c in (12, 40) for size in ((9, 11), (1, 1), (30, 50))]
CASES = {case.name: case for case in (*POOLS, *RESIZED, *PADDED, *JOINED, *GATED)}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return outcomes(tuple(CASES.values()), tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("name", CASES)
def test_kernel_equals_the_oracle(results: Outcomes, name: str) -> None:
    outcome = results[name]
    assert outcome.found.shape == outcome.expected.shape
    assert metrics.sqnr_db(outcome.expected, outcome.found) >= 110


def test_no_node_is_left_to_the_importer(results: Outcomes) -> None:
    assert results.operators <= {"relax.call_tir", "relax.reshape"}
