"""Feeds and outputs between the ONNX interface and an artifact's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effc.bench.adapt import Adapter, into, match, out_of, samples
from effc.core.errors import BadInput
from effc.core.manifest import TensorInfo

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.standard_normal((2, 3, 4, 5)).astype(np.float32)

LAYOUTS = [
    ("", IMAGE, IMAGE),
    ("NCHW", IMAGE, IMAGE),
    ("NHWC", IMAGE, IMAGE.transpose(0, 2, 3, 1)),
    ("NWC", IMAGE[:, :, 0], IMAGE[:, :, 0].transpose(0, 2, 1)),
    ("NC", IMAGE[:, :, 0, 0], IMAGE[:, :, 0, 0]),
]


@pytest.mark.parametrize(("layout", "given_", "expected"), LAYOUTS)
def test_layout_there_and_back(layout: str, given_: np.ndarray, expected: np.ndarray) -> None:
    info = TensorInfo("x", "float32", given_.shape, layout)
    laid = into(given_, info)
    np.testing.assert_array_equal(laid, expected)
    assert laid.flags.c_contiguous
    np.testing.assert_array_equal(out_of(laid, info), given_)


QUANTIZED = [
    ("int8", 0.5, 10, [0.0, 0.24, 0.25, 0.75, -100.0, 100.0], [10, 10, 10, 12, -128, 127]),
    ("uint8", 0.25, 128, [0.0, 0.3, -0.3, -100.0, 100.0], [128, 129, 127, 0, 255]),
    ("int8", 1.0, None, [1.4, -1.6], [1, -2]),
]


@pytest.mark.parametrize(("dtype", "scale", "zero", "real", "steps"), QUANTIZED)
def test_quantization(dtype: str, scale: float, zero: int | None, real: list[float], steps: list[int]) -> None:
    info = TensorInfo("x", dtype, (len(real),), "", scale, zero)
    found = into(np.asarray(real, np.float32), info)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, steps)
    np.testing.assert_array_equal(out_of(found, info), (np.asarray(steps, np.float32) - (zero or 0)) * scale)


def test_bfloat16_by_its_name(tmp_path: Path) -> None:
    """In a process that has not heard of it yet; what comes back can be stored."""
    program = f"""
import numpy as np
from effc.bench.adapt import into, out_of
from effc.core.manifest import TensorInfo
info = TensorInfo("x", "bfloat16", (2,))
back = out_of(into(np.asarray([1.0, 2.001], np.float32), info), info)
np.save({str(tmp_path / "y.npy")!r}, back)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), np.asarray([1.0, 2.0], np.float32))


def test_what_is_quantized_already_passes() -> None:
    given_ = np.arange(6, dtype=np.int8).reshape(1, 2, 3, 1)
    info = TensorInfo("x", "int8", (1, 3, 1, 2), "NHWC", 0.1, 3)
    np.testing.assert_array_equal(into(given_, info), given_.transpose(0, 2, 3, 1))


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(-128, 127), st.integers(-128, 127))
def test_every_step_survives_the_way_out_and_in(scale: float, zero: int, step: int) -> None:
    info = TensorInfo("x", "int8", (1,), "", scale, zero)
    back = into(out_of(np.asarray([step], np.int8), info), info)
    assert back[0] == step


MATCHES = [
    (["a", "b"], ["b", "a"], {"b": "b", "a": "a"}),
    (["a", "b", "extra"], ["a"], {"a": "a"}),
    (["a", "b"], ["serving_a:0", "serving_b:0"], {"serving_a:0": "a", "serving_b:0": "b"}),
]


@pytest.mark.parametrize(("given_", "wanted", "expected"), MATCHES)
def test_names_then_positions(given_: list[str], wanted: list[str], expected: dict[str, str]) -> None:
    assert match(given_, wanted) == expected


def test_names_that_cannot_be_matched() -> None:
    with pytest.raises(BadInput, match=r"\['x'\] are wanted, and \['a', 'b'\]"):
        match(["a", "b"], ["x"])


def adapter(*shapes: tuple[int | str, ...]) -> Adapter:
    return Adapter(tuple(TensorInfo(f"x{i}", "float32", shape) for i, shape in enumerate(shapes)), ())


CALLS = [
    (("N", 2), 5, [(5, None)]),
    ((1, 2), 3, [(1, None)] * 3),
    ((2, 2), 5, [(2, None), (2, None), (2, 1)]),
    ((4, 2), 4, [(4, None)]),
    ((4, 2), 3, [(4, 3)]),
]


@pytest.mark.parametrize(("shape", "count", "expected"), CALLS)
def test_calls(shape: tuple[int | str, ...], count: int, expected: list[tuple[int, int | None]]) -> None:
    given_ = np.arange(count * 2).reshape(count, 2)
    calls = list(adapter(shape).calls({"x0": given_}))
    assert [(len(feeds["x0"]), real) for feeds, real in calls] == expected
    joined = np.concatenate([feeds["x0"][:real] for feeds, real in calls])
    np.testing.assert_array_equal(joined, given_)


def test_a_state_whose_first_axis_counts_layers_stays_whole() -> None:
    feeds = {"x0": np.zeros((1, 576)), "x1": np.zeros((2, 1, 128))}
    [(call, real)] = adapter((1, 576), (2, 1, 128)).calls(feeds)
    assert real is None
    assert {name: array.shape for name, array in call.items()} == {"x0": (1, 576), "x1": (2, 1, 128)}


@pytest.mark.parametrize(("shape", "length"), [(("N", 2), 1), ((3, 2), 3)])
def test_one_call(shape: tuple[int | str, ...], length: int) -> None:
    assert len(adapter(shape).one({"x0": np.zeros((8, 2))})["x0"]) == length


@pytest.mark.parametrize("lengths", [(2, 3), ()])
def test_samples_must_agree(lengths: tuple[int, ...]) -> None:
    with pytest.raises(BadInput):
        samples({str(n): np.zeros((n, 1)) for n in lengths})


@pytest.mark.parametrize("shape", [(), (2,), (2, 3, 5, 4), (2, 4, 5, 3), (2, 3, 4, 5, 1)])
def test_a_feed_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    made = Adapter((TensorInfo("x", "float32", ("N", 4, 5, 3), "NHWC"),), ())
    assert made.feed({"x": IMAGE})["x"].shape == (2, 4, 5, 3)
    with pytest.raises(BadInput, match=r"the artifact takes \['N', 4, 5, 3\] \(NHWC\)"):
        made.feed({"x": np.zeros(shape, np.float32)})


def test_outputs_take_onnx_names() -> None:
    infos = (TensorInfo("Identity", "int8", (1, 2, 2, 3), "NHWC", 0.5, 1),)
    raw = RANDOM.integers(-128, 127, (1, 2, 2, 3)).astype(np.int8)
    found = Adapter((), infos).fetch({"Identity": raw}, ["y"])
    np.testing.assert_array_equal(found["y"], (raw.transpose(0, 3, 1, 2).astype(np.float32) - 1) * np.float32(0.5))


@pytest.mark.parametrize("dtype", ["bool", "int64", "float32"])
def test_a_scalar_stays_one(dtype: str) -> None:
    feeds = {"x": np.asarray(1, dtype)}
    adapter = Adapter((TensorInfo("x", dtype, ()),), ())
    assert adapter.feed(feeds)["x"].shape == ()
    assert adapter.one(feeds)["x"].shape == ()
