"""Optimization profiles: from what the model and the user say to what the builder gets, or why it cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effc.backends.tensorrt.build.profiles import complete, suggestion
from effc.bench.adapt import Adapter
from effc.core.errors import BadInput
from effc.core.manifest import TensorInfo
from effc.core.options import Profile, ShapeRange
from effc.core.profiles import batches, covering, sizes, within


def info(name: str, *shape: int | str) -> TensorInfo:
    return TensorInfo(name, "float32", shape)


def span(low: str, best: str = "", high: str = "") -> ShapeRange:
    """`1x3x8x8` and so on, as on the command line."""
    dims = [tuple(int(d) for d in (text or low).split("x")) for text in (low, best, high)]
    return ShapeRange(*dims)


IMAGE, FIXED = info("x", "N", 3, 8, 8), info("x", 1, 3, 8, 8)
FREE = info("x", "N", 3, "H", "W")
TOKENS = (info("ids", "N", "L"), info("mask", "N", "L"))
WHOLE = span("1x3x8x8", "4x3x8x8", "8x3x8x8")

COMPLETED: list[tuple[str, tuple[TensorInfo, ...], tuple[Profile, ...], tuple[Profile, ...]]] = [
    ("fixed inputs need none", (FIXED,), (), ()),
    ("nor do they when a range repeats their dims", (FIXED,), ({"x": span("1x3x8x8")},), ()),
    ("an unstated first dim", (IMAGE,), (), ({"x": span("1x3x8x8", "1x3x8x8", "32x3x8x8")},)),
    ("a stated one", (IMAGE,), ({"x": WHOLE},), ({"x": WHOLE},)),
    ("fixed inputs stay out", (IMAGE, info("s", 2, 4)), ({"x": WHOLE},), ({"x": WHOLE},)),
    ("several", (IMAGE,), ({"x": span("1x3x8x8")}, {"x": WHOLE}), ({"x": span("1x3x8x8")}, {"x": WHOLE})),
    (
        "a symbol covers the same everywhere",
        TOKENS,
        ({"mask": span("1x4", "2x16", "8x64")},),
        ({"ids": span("1x4", "2x16", "8x64"), "mask": span("1x4", "2x16", "8x64")},),
    ),
    (
        "the batch of one input is that of the other",
        (IMAGE, info("s", "N", 5)),
        ({"x": WHOLE},),
        ({"x": WHOLE, "s": span("1x5", "4x5", "8x5")},),
    ),
    (
        "anonymous dims are not the same",
        (info("a", "?", 2), info("b", "?", 2)),
        ({"a": span("1x2", "2x2", "3x2")},),
        ({"a": span("1x2", "2x2", "3x2"), "b": span("1x2", "1x2", "32x2")},),
    ),
]


@pytest.mark.parametrize(
    ("inputs", "stated", "expected"), [row[1:] for row in COMPLETED], ids=[r[0] for r in COMPLETED]
)
def test_complete(inputs: tuple[TensorInfo, ...], stated: tuple[Profile, ...], expected: tuple[Profile, ...]) -> None:
    assert complete(inputs, stated) == expected


REFUSED: list[tuple[str, tuple[TensorInfo, ...], Profile, str, str]] = [
    ("no such input", (IMAGE,), {"y": WHOLE}, "no input 'y'", "its inputs: x"),
    (
        "rank",
        (IMAGE,),
        {"x": span("1x3x8")},
        "1x3x8 has 3 dims, the input has 4: [N, 3, 8, 8]",
        "--shape-range x:1x3x8x8,",
    ),
    ("a fixed dim", (IMAGE,), {"x": span("1x4x8x8")}, "dim 1 covers 4 to 4, and the model fixes it at 3", "32x3x8x8"),
    ("a fixed dim in part", (IMAGE,), {"x": span("1x3x8x8", "1x3x8x8", "1x3x8x9")}, "dim 3 covers 8 to 9", "x:"),
    ("order", (IMAGE,), {"x": span("4x3x8x8", "2x3x8x8", "8x3x8x8")}, "dim 0 runs from 4 by 2 to 8", "x:"),
    ("nothing", (IMAGE,), {"x": span("0x3x8x8", "1x3x8x8", "8x3x8x8")}, "not 1 <= MIN", "x:"),
    (
        "a contradiction",
        TOKENS,
        {"ids": span("1x4"), "mask": span("2x4")},
        "'N' covers 2, 2, 2 here, and 1, 1, 1",
        "both",
    ),
    (
        "a free size",
        (FREE,),
        {},
        "'x' has shape [N, 3, H, W], and nothing says which sizes H, W takes",
        "--shape-range x:1x3x?x?,1x3x?x?,32x3x?x? with a number for each ? (H, W)",
    ),
    ("a fixed model", (FIXED,), {"x": WHOLE}, "the model fixes it at 1", "x:1x3x8x8,1x3x8x8,1x3x8x8"),
]


@pytest.mark.parametrize(
    ("inputs", "stated", "said", "hint"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_refused(inputs: tuple[TensorInfo, ...], stated: Profile, said: str, hint: str) -> None:
    with pytest.raises(BadInput) as caught:
        complete(inputs, (stated,))
    assert said in caught.value.what
    assert hint in caught.value.hint
    assert caught.value.where.startswith("--shape-range")


def test_the_suggestion_is_what_the_option_takes() -> None:
    assert suggestion(IMAGE) == "--shape-range x:1x3x8x8,1x3x8x8,32x3x8x8"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 9), st.sampled_from(["N", "H", "W"])), min_size=1, max_size=4), st.data())
def test_a_complete_profile_covers_what_it_states(shape: list[int | str], data: st.DataObject) -> None:
    """Every dim that a whole profile was given, least to greatest, is covered; one beyond it is not."""
    bounds = {s: sorted(data.draw(st.lists(st.integers(1, 40), min_size=3, max_size=3))) for s in ("N", "H", "W")}
    stated = ShapeRange(*(tuple(d if isinstance(d, int) else bounds[d][k] for d in shape) for k in range(3)))
    found = complete((info("x", *shape),), ({"x": stated},))
    if all(isinstance(d, int) for d in shape):
        assert found == ()
        return
    assert all(within(dims, found[0]["x"]) for dims in (stated.min, stated.opt, stated.max))
    for axis in range(len(shape)):
        beyond = tuple(d + (k == axis) for k, d in enumerate(stated.max))
        assert not within(beyond, found[0]["x"])


TWO: tuple[Profile, ...] = (
    {"x": span("1x3x8x8", "1x3x8x8", "4x3x8x8")},
    {"x": span("8x3x8x8", "16x3x8x8", "16x3x16x16")},
)


@pytest.mark.parametrize(
    ("shape", "number"), [((1, 3, 8, 8), 0), ((4, 3, 8, 8), 0), ((8, 3, 8, 8), 1), ((9, 3, 12, 16), 1)]
)
def test_covering(shape: tuple[int, ...], number: int) -> None:
    assert covering(TWO, {"x": shape}) == number
    assert covering((), {"x": shape}) == 0


@pytest.mark.parametrize("shape", [(5, 3, 8, 8), (1, 3, 12, 12), (17, 3, 8, 8), (1, 3, 8)])
def test_nothing_covers(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput) as caught:
        covering(TWO, {"y": (1,), "x": shape})
    assert "input 'x' with shape " + "x".join(map(str, shape)) in caught.value.what
    assert "1x3x8x8 to 4x3x8x8; 8x3x8x8 to 16x3x16x16" in caught.value.what
    assert "--shape-range x:" in caught.value.hint


def test_each_is_covered_by_another_profile() -> None:
    apart: tuple[Profile, ...] = ({"a": span("1x2"), "b": span("1x4")}, {"a": span("2x2"), "b": span("2x4")})
    with pytest.raises(BadInput, match="covers input 'a' with shape 1x2: built for 1x2 to 1x2; 2x2 to 2x2"):
        covering(apart, {"y": (1,), "a": (1, 2), "b": (2, 4)})


def test_sizes_and_batches() -> None:
    assert sizes({"x": ("N", 3, "H", "W")}, TWO[1:]) == {"N": 16, "H": 8, "W": 8}
    assert sizes({"x": ("N", 3)}, ()) == {}
    assert batches(TWO, {"x": (100, 3, 8, 8)}) == [(1, 4), (8, 16)]
    assert batches(TWO, {"x": (100, 3, 9, 9)}) == [(8, 16)]


CALLS = [
    (TWO, (3, 3, 8, 8), [3]),
    (TWO, (20, 3, 8, 8), [16, 4]),
    (TWO, (23, 3, 8, 8), [16, 4, 3]),
    (TWO, (3, 3, 9, 9), [8]),
    (TWO, (19, 3, 9, 9), [16, 8]),
    (TWO[:1], (9, 3, 8, 8), [4, 4, 1]),
]


@pytest.mark.parametrize(("profiles", "shape", "expected"), CALLS)
def test_feeds_are_cut_into_calls(profiles: tuple[Profile, ...], shape: tuple[int, ...], expected: list[int]) -> None:
    adapter = Adapter((info("x", "N", 3, "H", "W"),), (), profiles)
    whole = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    calls = list(adapter.calls({"x": whole}))
    assert [len(feeds["x"]) for feeds, _ in calls] == expected
    for feeds, _ in calls:
        assert adapter.feed(feeds)["x"].shape == feeds["x"].shape
    np.testing.assert_array_equal(np.concatenate([feeds["x"][:real] for feeds, real in calls]), whole)


def test_feeds_that_no_profile_covers() -> None:
    adapter = Adapter((info("x", "N", 3, "H", "W"),), (), TWO)
    with pytest.raises(BadInput, match="no optimization profile covers input 'x' with shape 2x3x4x4"):
        list(adapter.calls({"x": np.zeros((2, 3, 4, 4), np.float32)}))
    with pytest.raises(BadInput, match="no optimization profile covers"):
        adapter.feed({"x": np.zeros((5, 3, 8, 8), np.float32)})


def test_one_call_takes_what_the_profile_demands() -> None:
    adapter = Adapter((info("x", "N", 3, "H", "W"),), (), TWO[1:])
    assert adapter.one({"x": np.zeros((4, 3, 8, 8), np.float32)})["x"].shape == (8, 3, 8, 8)
