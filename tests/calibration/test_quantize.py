"""Q/DQ against a numerical simulation, and the rules of schemes one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import SCHEME, SCHEMES, build, convnet, images, run

from effc.calibration import weights
from effc.calibration.collect import collect
from effc.calibration.quantize import Quantized, quantize
from effc.calibration.ranges import ranges
from effc.calibration.readers import open_data
from effc.calibration.scheme import QParams
from effc.compiler import ir
from effc.compiler.oracle import Session, graph_inputs
from effc.compiler.ranges import Range
from effc.core.options import DataOptions


def calibrated(model: ir.Model, folder: Path, **arrays: np.ndarray) -> dict[str, Range]:
    np.savez(folder / "d.npz", **arrays)  # type: ignore[arg-type]
    return ranges(collect(model, open_data(DataOptions(str(folder / "d.npz")), graph_inputs(model))), "minmax")


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def node(model: ir.Model, op: str) -> ir.Node:
    return next(n for n in model.graph if n.op_type == op)


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(0, 1), st.sampled_from(["int8", "uint8"]), st.booleans())
@settings(max_examples=300, deadline=None)
def test_quantize_dequantize_stays_within_half_a_step(a: float, b: float, t: float, kind: str, symmetric: bool) -> None:
    observed = Range(min(a, b), max(a, b))
    value = observed.lo + t * (observed.hi - observed.lo)
    q = replace(SCHEME, activation=kind, symmetric=symmetric).qparams(observed)
    info = np.iinfo(kind)
    held = np.clip(np.rint(value / q.scale) + q.zero_point, info.min, info.max)
    # Rounding the zero point may shift the ends by half a step more.
    assert abs((held - q.zero_point) * q.scale - value) <= q.scale * (1.0 + 1e-5)
    inside = info.min < np.rint(value / q.scale) + q.zero_point < info.max
    assert not inside or abs((held - q.zero_point) * q.scale - value) <= q.scale * 0.5001


@given(st.integers(1, 5), st.integers(1, 30), st.integers(0, 1000), st.floats(1e-6, 1e4))
@settings(max_examples=50, deadline=None)
def test_weights_are_symmetric_and_close(channels: int, size: int, seed: int, gain: float) -> None:
    rows = np.random.default_rng(seed).normal(size=(channels, size)) * gain
    rows[0] = 0
    for scales in (weights.max_scales(rows), weights.mse_scales(rows)):
        held = weights.quantize_rows(rows, scales)
        assert np.abs(held).max() <= 127
    full = weights.max_scales(rows)
    assert (np.abs(weights.quantize_rows(rows, full) * full[:, None] - rows) <= full[:, None] * 0.5001).all()
    error = [np.square(weights.quantize_rows(rows, s) * s[:, None] - rows).sum(axis=1) for s in (full, scales)]
    assert (error[1] <= error[0] * (1 + 1e-6)).all()


@pytest.mark.parametrize("name", SCHEMES)
def test_close_to_float_and_all_quantized(name: str, tmp_path: Path) -> None:
    model, x = convnet(), images(64)
    before = ir.to_bytes(model)
    made = quantize(model, calibrated(model, tmp_path, x=x), SCHEMES[name])
    assert ir.to_bytes(model) == before
    onnx.checker.check_model(ir.to_proto(made.model), full_check=True)
    assert set(made.precision.values()) == {"int8"}
    reference, found = run(model, x), run(made.model, x)
    assert np.linalg.norm(found - reference) < 0.06 * np.linalg.norm(reference)


def test_equals_integer_arithmetic(tmp_path: Path) -> None:
    """One Conv with its Clip in integers: int32 sums of (q - z) w plus the bias, one requantization, saturation."""
    model = build(
        "net (float[N,2,3,3] x) => (float[N,4,3,3] y) { a = Conv(x, w, b)\n y = Clip(a, zero, six) }",
        w=np.random.default_rng(0).normal(size=(4, 2, 1, 1)).astype(np.float32) * 3,
        b=np.array([0.1, -2, 3, 0], np.float32),
        zero=np.array(0, np.float32),
        six=np.array(6, np.float32),
    )
    x = np.random.default_rng(1).normal(size=(16, 2, 3, 3)).astype(np.float32) * 2
    made = quantize(model, calibrated(model, tmp_path, x=x), SCHEME)
    assert ops(made.model).count("QuantizeLinear") == 2
    conv = node(made.model, "Conv")
    held = {i: conv.inputs[i].producer().inputs for i in (1, 2)}  # type: ignore[union-attr]
    w, w_scale = (ir.const(v) for v in held[1][:2])
    b, b_scale = (ir.const(v) for v in held[2][:2])
    into, out = made.qparams["x"], made.qparams["y"]
    assert w is not None and b is not None and w_scale is not None and b_scale is not None
    assert (w.dtype, b.dtype) == (np.int8, np.int32)
    assert np.array_equal(b_scale, (np.float64(into.scale) * w_scale.astype(np.float64)).astype(np.float32))
    q = np.clip(np.rint(x / np.float32(into.scale)) + into.zero_point, -128, 127).astype(np.int64) - into.zero_point
    total = np.einsum("nihw,oi->nohw", q, w[:, :, 0, 0].astype(np.int64)) + b.astype(np.int64)[None, :, None, None]
    real = np.clip(total * (into.scale * w_scale.astype(np.float64))[None, :, None, None], 0, 6)
    expected = np.clip(np.rint(real / out.scale) + out.zero_point, -128, 127)
    found = np.rint(run(made.model, x) / np.float32(out.scale)) + out.zero_point
    assert np.abs(found - expected).max() <= 1
    assert np.mean(found == expected) > 0.995


def test_no_pair_inside_a_fused_kernel_only_with_one_consumer(tmp_path: Path) -> None:
    text = "net (float[N,3,8,8] x) => (float[N,4,8,8] y{}) {{ a = Conv(x, w)\n b = Relu(a)\n y = Add(b, {}) }}"
    w = np.random.default_rng(0).normal(size=(4, 3, 1, 1)).astype(np.float32)
    for second, output, inside in (("b", "", True), ("a", "", False), ("b", ", float[N,4,8,8] a", False)):
        model = build(text.format(output, second), w=w)
        made = quantize(model, calibrated(model, tmp_path, x=images(8)), SCHEME)
        assert ("a" in made.qparams) != inside


def test_same_scale_ops_share_parameters(tmp_path: Path) -> None:
    model = build(
        """net (float[N,3,8,8] x) => (float[N,4,4,4] y) {
            a = Conv(x, w1)
            b = Conv(x, w2)
            c = Concat<axis=1>(a, b)
            y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c)
        }""",
        w1=np.ones((2, 3, 1, 1), np.float32),
        w2=np.full((2, 3, 1, 1), -5, np.float32),
    )
    found = calibrated(model, tmp_path, x=images(8))
    made = quantize(model, found, SCHEME)
    assert len({made.qparams[name] for name in ("a", "b", "c", "y")}) == 1
    union = found["a"].union(found["b"]).union(found["c"])
    assert made.qparams["y"] == SCHEME.qparams(union)


@pytest.mark.parametrize(("gain", "extra"), [(10.0, 1), (1e-3, 0)], ids=["requantize", "adopt"])
def test_fixed_output_meets_a_same_scale_op(gain: float, extra: int, tmp_path: Path) -> None:
    """Concat(Sigmoid(x), Relu(x)): the group keeps its own range, or takes the sigmoid's where that covers it."""
    model = build(
        """net (float[N,4] x) => (float[N,8] y) {
            s = Sigmoid(x)
            r = Mul(x, g)
            t = Relu(r)
            y = Concat<axis=1>(s, t)
        }""",
        g=np.array([gain], np.float32),
    )
    found = calibrated(model, tmp_path, x=np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32))
    made = quantize(model, found | {"y": found["t"]}, SCHEME)
    assert made.qparams["s"] == QParams(1 / 256, -128)
    assert (made.qparams["y"] == made.qparams["s"]) == (extra == 0)
    concat = node(made.model, "Concat")
    pairs = [v.producer().inputs[1:] for v in (*concat.inputs,)]  # type: ignore[union-attr]
    steps = {(float(ir.const(scale)), int(ir.const(zero))) for scale, zero in pairs}  # type: ignore[arg-type]
    assert len(steps) == 1
    names = [v.name for n in made.model.graph for v in n.outputs]
    assert sum("_for_" in (name or "") and name.endswith("_quantized") for name in names) == extra  # type: ignore[union-attr]


def test_every_consumer_sees_the_dequantized_value(tmp_path: Path) -> None:
    model = build(
        "net (float[N,3,8,8] x) => (float[N,4,8,8] y, float[N,4,8,8] a) { a = Conv(x, w)\n y = Exp(a) }",
        w=np.random.default_rng(0).normal(size=(4, 3, 1, 1)).astype(np.float32) * 0.3,
    )
    x = images(8)
    made = quantize(model, calibrated(model, tmp_path, x=x), SCHEME)
    assert [v.name for v in made.model.graph.outputs] == ["y", "a"]
    assert made.precision == {"Conv_0": "int8", "Exp_1": "float32"}
    found = Session(made.model).run({"x": x})
    q = made.qparams["a"]
    levels = found["a"] / np.float32(q.scale)
    assert np.abs(levels - np.rint(levels)).max() < 1e-3
    assert np.allclose(found["y"], np.exp(found["a"]), rtol=1e-6)


def test_keep_float_and_missing_ranges(tmp_path: Path) -> None:
    model = convnet()
    found = calibrated(model, tmp_path, x=images(8))
    kept = quantize(model, found, SCHEME, keep_float=["Conv_[0-9]", "Gemm*"])
    assert {n for n, p in kept.precision.items() if p == "float32"} >= {"Conv_0", "Conv_2", "Gemm_7"}
    assert kept.layers == ()
    del found["y"]
    partial = quantize(model, found, SCHEME)
    assert partial.precision["Gemm_7"] == "float32"
    assert partial.precision["Conv_2"] == "int8"


@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_layers_of_other_floats_stay_as_they_are(tmp_path: Path, dtype: str) -> None:
    kind = np.float16 if dtype == "float16" else np.float64
    model = build(f"net ({dtype}[N,4] x) => ({dtype}[N,3] y) {{ y = MatMul(x, w) }}", w=np.ones((4, 3), kind))
    made = quantize(model, calibrated(model, tmp_path, x=np.ones((2, 4), kind)), SCHEME)
    assert set(made.precision.values()) == {"float32"}


def test_movers_between_float_ops_stay_float(tmp_path: Path) -> None:
    model = build("net (float[N,3,8,8] x) => (float[N,192] y) { a = Exp(x)\n b = Flatten(a)\n y = Exp(b) }")
    made = quantize(model, calibrated(model, tmp_path, x=images(4)), SCHEME)
    assert set(made.precision.values()) == {"float32"}
    assert "QuantizeLinear" not in ops(made.model)


def test_quantization_aware_training_is_kept(tmp_path: Path) -> None:
    model = build(
        """net (float[N,3,8,8] x) => (float[N,4,8,8] y) {
            q = QuantizeLinear(x, xs, xz)
            d = DequantizeLinear(q, xs, xz)
            w = DequantizeLinear<axis=0>(wq, ws, wz)
            a = Conv(d, w, b)
            r = Relu(a)
            rq = QuantizeLinear(r, rs, rz)
            rd = DequantizeLinear(rq, rs, rz)
            y = MaxPool<kernel_shape=[1,1]>(rd)
        }""",
        xs=np.array(0.031, np.float32),
        xz=np.array(3, np.int8),
        wq=np.random.default_rng(0).integers(-127, 128, (4, 3, 1, 1)).astype(np.int8),
        ws=np.array([0.01, 0.02, 0.03, 0.04], np.float32),
        wz=np.zeros(4, np.int8),
        b=np.array([1, 2, 3, 4], np.float32),
        rs=np.array(0.05, np.float32),
        rz=np.array(-128, np.int8),
    )
    x = images(8)
    made = quantize(model, calibrated(model, tmp_path, x=x), SCHEME)
    assert made.qparams["d"] == QParams(float(np.float32(0.031)), 3)
    assert made.qparams["y"] == made.qparams["rd"] == QParams(float(np.float32(0.05)), -128)
    assert ops(made.model).count("QuantizeLinear") == 3
    bias = node(made.model, "Conv").inputs[2].producer()  # type: ignore[union-attr]
    assert bias is not None
    assert np.allclose(ir.const(bias.inputs[1]), np.float32(0.031) * np.array([0.01, 0.02, 0.03, 0.04]))  # type: ignore[arg-type]
    assert np.abs(run(made.model, x) - run(model, x)).max() <= 0.0501


def test_bias_fits_into_int32(tmp_path: Path) -> None:
    """A channel with tiny weights and a large bias gets a larger weight scale, not a saturated bias."""
    w = np.ones((2, 3, 1, 1), np.float32)
    w[1] = 1e-9
    model = build(
        "net (float[N,3,8,8] x) => (float[N,2,8,8] y) { y = Conv(x, w, b) }", w=w, b=np.array([0.5, 7.0], np.float32)
    )
    x = images(8)
    made = quantize(model, calibrated(model, tmp_path, x=x), SCHEME)
    assert np.abs(run(made.model, x) - run(model, x)).max() < 0.2
    bias = ir.const(made.model.graph.initializers[made.layers[0].bias])
    assert bias is not None
    assert np.abs(bias.astype(np.int64)).max() <= 1 << 30


def test_same_bytes_twice(tmp_path: Path) -> None:
    def make() -> Quantized:
        model = convnet()
        return quantize(model, calibrated(model, tmp_path, x=images(8)), SCHEME)

    assert ir.to_bytes(make().model) == ir.to_bytes(make().model)
