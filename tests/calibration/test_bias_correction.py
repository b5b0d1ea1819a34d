"""Bias correction takes back the shift of the mean, and never by noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import SCHEMES, build, convnet, images, run

from effc.calibration.bias_correction import correct, mean_shift, visible
from effc.calibration.collect import collect
from effc.calibration.pieces import walk
from effc.calibration.quantize import quantize
from effc.calibration.ranges import ranges
from effc.calibration.readers import open_data
from effc.compiler import ir
from effc.compiler.oracle import Session, graph_inputs
from effc.core.options import DataOptions

FREE = (-np.inf, np.inf)


def test_pieces_equal_the_whole_and_pass_changes_on() -> None:
    model, x = convnet(), images(6)
    whole = Session(model, outputs=["a", "c", "y"]).run({"x": x})
    seen = [outputs[0].copy() for outputs in walk(model, ["Conv_0", "Conv_2", "Gemm_7"], [{"x": x}])]
    for name, found in zip(("a", "c", "y"), seen, strict=True):
        assert np.allclose(found, whole[name], atol=1e-6)
    pieces = walk(model, ["Conv_0", "Gemm_7"], [{"x": x}])
    np.add(first := next(pieces)[0], 1, out=first)
    assert not np.allclose(next(pieces)[0], whole["y"], atol=1e-3)


def test_pieces_with_a_subgraph_that_takes_outer_values() -> None:
    model = build(
        """net (float[N,4] x) => (float[N,4] y) {
            a = Gemm(x, w)
            t = Neg(x)
            b = Gemm(a, w)
            y = If<then_branch = yes () => (float[N,4] p) { p = Mul(t, b) },
                   else_branch = no () => (float[N,4] q) { q = Add(t, w2) }>(true)
        }""",
        w=np.eye(4, dtype=np.float32),
        w2=np.ones(4, np.float32),
        true=np.array(True),
    )
    x = images(1).reshape(-1, 4)
    seen = [outputs[0] for outputs in walk(model, ["Gemm_0", "Gemm_2", "If_3"], [{"x": x}])]
    assert np.allclose(seen[-1], -x * x)


def test_visible_interval() -> None:
    by_name = {n.name: n for n in convnet().graph}
    assert visible(by_name["Conv_0"]) == (0.0, 6.0)
    assert visible(by_name["Add_3"]) == (0.0, np.inf)
    assert visible(by_name["Gemm_7"]) == FREE


def test_shift_is_the_mean_of_what_is_seen() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 3, 50, 50)).astype(np.float32) * 4
    y = x - np.array([0.5, 0.0, -0.25], np.float32)[None, :, None, None]
    assert np.allclose(mean_shift([x], [y], 1, FREE), [0.5, 0, -0.25], atol=1e-4)
    hidden = np.where(x < -2, y - 100, y)
    assert np.allclose(mean_shift([x], [hidden], 1, (0.0, 6.0)), [0.5, 0, -0.25], atol=1e-4)


def test_noise_is_not_taken_for_a_shift() -> None:
    rng = np.random.default_rng(0)
    x = np.zeros((16, 400), np.float32)
    y = rng.normal(size=x.shape).astype(np.float32)
    raw = np.square(y.mean(axis=0)).sum()
    assert np.square(mean_shift([x], [y], -1, FREE)).sum() < 0.5 * raw


@pytest.mark.parametrize("name", SCHEMES)
def test_means_come_back(name: str, tmp_path: Path) -> None:
    """Percentile 90 cuts a lot off, so that means shift; the correction must win most of that back."""
    model, x = convnet(), images(64)
    np.savez(tmp_path / "d.npz", x=x)
    data = open_data(DataOptions(str(tmp_path / "d.npz")), graph_inputs(model))
    made = quantize(model, ranges(collect(model, data), "percentile", 90.0), SCHEMES[name])
    reference, plain = run(model, x), run(made.model, x)
    corrected = run(correct(made, model, data, 64).model, x)
    shift = [np.abs((y - reference).mean(axis=0)).max() for y in (plain, corrected)]
    assert shift[1] < 0.5 * shift[0]
    assert np.square(corrected - reference).sum() < np.square(plain - reference).sum()


def test_same_bytes_twice(tmp_path: Path) -> None:
    model, x = convnet(), images(16)
    np.savez(tmp_path / "d.npz", x=x)
    data = open_data(DataOptions(str(tmp_path / "d.npz")), graph_inputs(model))
    found = ranges(collect(model, data), "mse")
    made = [ir.to_bytes(correct(quantize(model, found, SCHEMES["int8"]), model, data).model) for _ in range(2)]
    assert made[0] == made[1]
