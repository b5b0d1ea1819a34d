"""Q/DQ that came with a model, as quantization-aware training exports it: kept, and run as integer kernels."""

# ruff: noqa: E501  (a graph is one row)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from artifacts import Artifacts
from graphs import Graph

from effc.backends.tflite.runner import LiteRTRunner
from effc.compiler import metrics
from effc.core.target import Target

ACTIVATION = (
    "zx = Constant<value = {kind} {{{zero}}}>() qx = QuantizeLinear(x, sx, zx) dx = DequantizeLinear(qx, sx, zx)"
)
WEIGHT = "zw = Constant<value = int8[6] {0,0,0,0,0,0}>() qw = QuantizeLinear<axis = 0>(w, v, zw) dw = DequantizeLinear<axis = 0>(qw, v, zw)"
LAYER = "c = Conv<pads = [1,1,1,1]>(dx, dw, b) r = Relu(c)"
OUTPUT = "zy = Constant<value = {kind} {{{zero}}}>() qy = QuantizeLinear(r, sy, zy) y = DequantizeLinear(qy, sy, zy)"
SCALES = "sx = Constant<value = float {0.05}>() sy = Constant<value = float {0.04}>()"
WEIGHTS = (("w", (6, 8, 3, 3)), ("b", (6,)), ("v", (6,)))


def trained(kind: str, middle: int, low: int) -> Graph:
    """A convolution between Q/DQ pairs, its weight behind Q/DQ, its bias in float."""
    first, last = ACTIVATION.format(kind=kind, zero=middle), OUTPUT.format(kind=kind, zero=low)
    return Graph(f"trained_{kind}", f"{SCALES} {first} {WEIGHT} {LAYER} {last}", WEIGHTS)


@pytest.mark.parametrize("graph", [trained("int8", 0, -128), trained("uint8", 128, 0)], ids=lambda g: g.name)
@pytest.mark.parametrize("target", ["tflite-int8", "tflite-fp32", "ort-int8", "ort-fp32"])
def test_it_is_kept(graph: Graph, target: str, tmp_path: Path) -> None:
    with Artifacts(tmp_path) as artifacts:
        made = artifacts.build(graph, Target.parse(target))
        feeds = graph.samples(1)
        expected, found = made.oracle(feeds)["y"], made.run(feeds)["y"]
        assert np.abs(expected - found).max() <= 0.04 * 1.001
        assert metrics.sqnr_db(expected, found) > 35
        if target.startswith("tflite"):
            ops = LiteRTRunner(made.folder, "model.tflite", 1).op_types()
            assert ops["CONV_2D", "int8"] == 1
