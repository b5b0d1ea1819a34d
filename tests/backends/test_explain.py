"""What `explain` tells, on small graphs whose answer is known, and on layer information written by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from effc.backends.explanation import Explanation, LayerRow, Reformat, shares
from effc.backends.onnxruntime.explain import Nodes
from effc.backends.onnxruntime.explain import told as measured
from effc.backends.onnxruntime.profile import Kernel, float_twin
from effc.backends.tensorrt.explain import borders, layers
from effc.backends.tensorrt.explain.report import from_file, from_graph, from_layers
from effc.build import build
from effc.compiler import ir, oracle
from effc.compiler.settle import settle
from effc.core.errors import BadInput, EffcError
from effc.core.manifest import QUANTIZED_NAME
from effc.core.options import BuildOptions, CalibrationOptions, DataOptions
from effc.core.target import parse_targets
from effc.verbs.explain import explain

HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'
CHAIN = (
    "g (float[N,8,6,6] x) => (float[N,8,6,6] y) { [first] a = Conv<pads=[1,1,1,1]>(x, w)"
    "\n [island] b = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(a) \n [last] y = Conv<pads=[1,1,1,1]>(b, v) }"
)
ELEMENTS = 8 * 6 * 6
ISLANDS = ("tflite-int8", "ort-int8")


def chain() -> onnx.ModelProto:
    model = onnx.parser.parse_model(HEAD + CHAIN)
    rng = np.random.default_rng(3)
    for name in ("w", "v"):
        array = rng.normal(0, 0.2, (8, 8, 3, 3)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The chain for all targets, quantized as a whole and with its middle kept in float; by "whole" and "island"."""
    folder = tmp_path_factory.mktemp("explain")
    onnx.save(chain(), folder / "chain.onnx")
    np.savez(folder / "calib.npz", x=np.random.default_rng(5).normal(0, 1, (16, 8, 6, 6)).astype(np.float32))
    calibration = CalibrationOptions(DataOptions(str(folder / "calib.npz")), method="minmax", bias_correction=False)
    targets = parse_targets("ort-fp32,ort-int8,tflite-fp32,tflite-int8,trt-int8,trt-best")
    whole = BuildOptions(folder / "chain.onnx", targets, folder / "whole", calibration=calibration, defer=True)
    for options in (whole, replace(whole, out=folder / "island", keep_float=("island",))):
        report = build(options)
        assert not [target.failure for target in report.targets if target.failure is not None]
    yield {"whole": folder / "whole", "island": folder / "island"}


def told(folder: Path) -> Explanation:
    return explain(folder).explanation


@pytest.mark.parametrize("target", ISLANDS)
def test_a_float_island_is_named(target: str, built: dict[str, Path]) -> None:
    whole, island = told(built["whole"] / target), told(built["island"] / target)
    assert "float32" not in whole.shares and whole.shares["int8"].layers == 3
    assert island.shares["float32"].layers == 1
    assert "island" in str(island.unfused) and "island" not in str(whole.unfused)
    around = {r.bytes for r in island.reformats} - {r.bytes for r in whole.reformats}
    assert around <= {ELEMENTS, 4 * ELEMENTS}


def test_tflite_counts_what_conversions_write(built: dict[str, Path]) -> None:
    found = told(built["island"] / "tflite-int8")
    written = sorted((r.source, r.target, r.bytes) for r in found.reformats if r.source != r.target)
    borders_ = [("float32", "int8", ELEMENTS), ("int8", "float32", 4 * ELEMENTS)]
    assert [row for row in written if "layout" not in row[1]] == sorted(borders_ * 2)
    assert any("stays float32" in text and "MaxPool 'island'" in text for text in found.advice)


@pytest.mark.parametrize("target", ["tflite-fp32", "tflite-int8"])
def test_tflite_names_the_nodes(target: str, built: dict[str, Path]) -> None:
    found = told(built["whole"] / target)
    assert [row.op for row in found.layers if row.op != "PAD"] == ["CONV_2D", "MAX_POOL_2D", "CONV_2D"]
    if target == "tflite-int8":
        assert [n for row in found.layers for n in row.nodes] == ["first", "island", "last"]


def test_onnxruntime_times_every_kernel(built: dict[str, Path]) -> None:
    found = told(built["whole"] / "ort-int8")
    assert {row.nodes: row.precision for row in found.layers} == dict.fromkeys(
        [("first",), ("island",), ("last",)], "int8"
    )
    assert all(row.ms is not None and row.float_ms is not None for row in found.layers)
    assert math.isclose(sum(share.time or 0.0 for share in found.shares.values()), 1.0)
    assert {kind.kind: kind.layers for kind in found.kinds if kind.layers}["Conv"] == 2
    assert "int8 takes" in found.verdict and "ort-fp32" in found.basis


def test_onnxruntime_says_beside_what_a_float_kernel_stands(built: dict[str, Path]) -> None:
    found = told(built["island"] / "ort-int8")
    assert {item.reason for item in found.unfused} == {"MaxPool 'island' runs in float"}
    assert len(found.unfused) == 2


def test_float_artifacts_have_no_twin(built: dict[str, Path]) -> None:
    found = told(built["whole"] / "ort-fp32")
    assert found.verdict == "" and {row.precision for row in found.layers} == {"float32"}


def test_the_float_twin_computes_the_original(built: dict[str, Path]) -> None:
    """The weights are those of int8 again, so it is near, not equal; Q/DQ of activations are gone."""
    twin = float_twin(onnx.load(str(built["whole"] / "ort-int8" / QUANTIZED_NAME)))
    assert twin is not None
    ops = [node.op_type for node in onnx.load_from_string(twin).graph.node]
    assert [op for op in ops if op != "Identity"] == ["Conv", "MaxPool", "Conv"]
    feeds = {"x": np.random.default_rng(8).normal(0, 1, (2, 8, 6, 6)).astype(np.float32)}
    expected, found = (oracle.Session(model).run(feeds)["y"] for model in (chain(), onnx.load_from_string(twin)))
    assert 0 < np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_a_graph_without_q_dq_has_no_twin() -> None:
    assert float_twin(chain()) is None


def test_a_package_is_explained_from_its_graph(built: dict[str, Path]) -> None:
    whole, island = (told(built[name] / "trt-int8") for name in ("whole", "island"))
    assert "typed graph" in whole.basis
    assert {row.nodes[0]: row.precision for row in island.layers} == {
        "first": "int8",
        "island": "float32",
        "last": "int8",
    }
    assert "MaxPool 'island' computes its input in float" in str(island.unfused)


def test_what_is_kept_has_its_reason(built: dict[str, Path]) -> None:
    rows = {row.nodes[0]: row for row in told(built["island"] / "trt-best").layers}
    assert rows["island"].precision == "float32" and rows["island"].note
    assert rows["first"].precision == "int8"


Q = "{0}q = QuantizeLinear({0}, {1}, z) \n {0}d = DequantizeLinear({0}q, {1}, z)"
BORDERS = [
    ("conv", f"{Q.format('x', 's')} \n wd = DequantizeLinear(w, s) \n y = Conv(xd, wd)", ""),
    ("relu", f"{Q.format('x', 's')} \n y = Relu(xd)", "has no 8-bit kernel"),
    ("softmax", f"{Q.format('x', 's')} \n y = Softmax(xd)", "Softmax"),
    (
        "both readers",
        f"{Q.format('x', 's')} \n wd = DequantizeLinear(w, s) \n c = Conv(xd, wd) \n e = Exp(xd) \n y = Mul(c, e)",
        "so it is written twice",
    ),
    (
        "per channel",
        "xq = QuantizeLinear<axis=1>(x, t, zt) \n xd = DequantizeLinear<axis=1>(xq, t, zt)"
        "\n wd = DequantizeLinear(w, s) \n y = Conv(xd, wd)",
        "a scale for each channel",
    ),
    ("float weight", f"{Q.format('x', 's')} \n y = Conv(xd, f)", "its weight is not quantized"),
    ("computed weight", f"{Q.format('x', 's')} \n e = Exp(f) \n y = Conv(xd, e)", "computed at run time"),
    (
        "between a convolution and its sum",
        f"{Q.format('x', 's')} \n wd = DequantizeLinear(w, s) \n c = Conv(xd, wd) \n {Q.format('c', 's')}"
        f"\n y = Add(cd, x)",
        "which would be one kernel without it",
    ),
    (
        "a residual sum",
        f"{Q.format('x', 's')} \n wd = DequantizeLinear(w, s) \n c = Conv(xd, wd) \n a = Add(c, xd)"
        f"\n r = Relu(a) \n {Q.format('r', 's')} \n y = Conv(rd, wd)",
        "",
    ),
    (
        "scales",
        f"n = Neg(x) \n {Q.format('x', 's')} \n {Q.format('n', 'u')} \n c = Concat<axis=0>(xd, nd)"
        f"\n y = Slice(c, i, k, i)",
        "different scales",
    ),
]


def graph(body: str) -> ir.Graph:
    weights = (
        "float s = {0.1}, float u = {0.2}, int8 z = {0}, float[2] t = {0.1, 0.2}, int8[2] zt = {0, 0},"
        "int8[2,2,1,1] w = {1, 2, 3, 4}, float[2,2,1,1] f = {1, 2, 3, 4}, int64[1] i = {0}, int64[1] k = {1}"
    )
    text = f"{HEAD}g (float[1,2,4,4] x) => (float[1,2,4,4] y) <{weights}> {{ {body} }}"
    model = ir.from_proto(onnx.parser.parse_model(text))
    for number, node in enumerate(model.graph):
        node.name = node.name or f"n{number}"
    settle(model, where="test")
    return model.graph


@pytest.mark.parametrize(("name", "body", "reason"), BORDERS, ids=[row[0] for row in BORDERS])
def test_why_q_dq_stay_layers(name: str, body: str, reason: str) -> None:
    del name
    found = [item.reason for item in borders.unfused(graph(body))]
    assert any(reason in text for text in found) if reason else not found


def test_what_fuses_wholly_is_said() -> None:
    found = from_graph(graph(BORDERS[0][1]), {})
    assert found.verdict == "Every Q/DQ can become part of a kernel." and not found.reformats
    assert {row.precision for row in found.layers} == {"int8"}


def tensor(name: str, form: str, *dims: int) -> dict[str, object]:
    return {"Name": name, "Location": "Device", "Dimensions": list(dims), "Format/Datatype": form}


ENGINE = {
    "Comment": "written by hand after the documented form of EngineInspector; no engine has put it out",
    "Layers": [
        {
            "Name": "Reformatting CopyNode for Input Tensor 0 to c1",
            "LayerType": "Reformat",
            "Inputs": [tensor("x", "Row major linear FP32", 1, 3, 8, 8)],
            "Outputs": [tensor("x'", "Channel major FP16 format where channel % 4 == 0", 1, 3, 8, 8)],
        },
        {
            "Name": "c1 + r1",
            "LayerType": "CaskConvolution",
            "Inputs": [tensor("x'", "Thirty-two wide channel vectorized row major Int8 format", 1, 3, 8, 8)],
            "Outputs": [tensor("r", "Thirty-two wide channel vectorized row major Int8 format", 1, 4, 8, 8)],
            "TacticName": "sm80_xmma_fprop_i8i8",
            "Metadata": "[ONNX Layer: c1]\x1e[ONNX Layer: r1]",
        },
        {
            "Name": "q2",
            "LayerType": "Quantize",
            "Inputs": [tensor("r", "Half", 1, 4, 8, 8)],
            "Outputs": [tensor("rq", "Int8", 1, 4, 8, 8)],
            "Metadata": "[ONNX Layer: q2]",
        },
        {
            "Name": "sm",
            "LayerType": "SoftMax",
            "Inputs": [tensor("r", "Row major linear FP32", -1, 4)],
            "Outputs": [tensor("y", "Row major linear FP32", -1, 4)],
            "Metadata": "[ONNX Layer: sm]",
        },
    ],
    "Bindings": ["x", "y"],
}
PROFILE = [
    {"count": 10},
    {"name": "Reformatting CopyNode for Input Tensor 0 to c1", "averageMs": 0.1, "percentage": 10.0},
    {"name": "c1 + r1", "averageMs": 0.6, "percentage": 60.0},
    {"name": "q2", "averageMs": 0.1, "percentage": 10.0},
    {"name": "sm", "averageMs": 0.2, "percentage": 20.0},
]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "engine.json"
    path.write_text(json.dumps(ENGINE))
    return path


def test_an_engine_by_its_layers(saved: Path) -> None:
    found = from_file(saved)
    assert [(row.name, row.precision) for row in found.layers] == [
        ("c1 + r1", "int8"),
        ("q2", "int8"),
        ("sm", "float32"),
    ]
    assert found.layers[0].nodes == ("c1", "r1") and found.layers[0].note == "sm80_xmma_fprop_i8i8"
    assert [(r.bytes, "FP32" in r.source, "FP16" in r.target) for r in found.reformats] == [(384, True, True)]
    assert [item.node for item in found.unfused] == ["q2"]
    assert all(share.time is None for share in found.shares.values()) and not found.kinds


def test_times_come_from_a_profile_beside_it(saved: Path) -> None:
    saved.with_name("profile.json").write_text(json.dumps(PROFILE))
    found = explain(saved).explanation
    times = {name: share.time for name, share in found.shares.items()}
    assert times == pytest.approx({"int8": 0.7, "float32": 0.2, "reformat": 0.1})
    assert [kind.kind for kind in found.kinds] == ["CaskConvolution", "SoftMax", "Quantize", "reformat"]
    first, second = found.advice[:2]
    assert "sm" in first and "20.0%" in first and "reformat" in second and "10.0%" in second


def test_the_typed_graph_says_why(saved: Path) -> None:
    reason = borders.Unfused("q2", "Softmax 'sm' reads it, which has no 8-bit kernel")
    found = from_layers(layers.read(saved), [reason], {"sm": "it overflows"})
    assert found.unfused == (reason,)
    assert found.layers[-1].note == "it overflows"


FORMATS = [
    ("Row major linear FP32", "float32", 4),
    ("Float", "float32", 4),
    ("Half", "float16", 2),
    ("Channel major FP16 format where channel % 8 == 0", "float16", 2),
    ("Row major linear BFloat16 format", "bfloat16", 2),
    ("Row major Int8 format", "int8", 1),
    ("Row major FP8 format", "fp8", 1),
    ("Row major linear INT32", "int32", 4),
    ("N/A due to dynamic shapes", "", 0),
]


@pytest.mark.parametrize(("form", "dtype", "size"), FORMATS)
def test_types_of_formats(form: str, dtype: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    entry = {"Name": "l", "LayerType": "k", "Outputs": [tensor("y", form, 2, 3)]}
    path.write_text(json.dumps({"Layers": [entry]}))
    made = layers.read(path)[0].outputs[0]
    assert (made.dtype, made.bytes) == (dtype, 6 * size or None)


DAMAGED = [
    *("", "[]", "{}", '{"Layers": 3}', '{"Layers": []}', '{"Layers": ["conv + relu"]}', '{"Layers": [1]}'),
    '{"Layers": [{"Inputs": [{"Dimensions": "x"}]}]}',
    '{"Layers": [{"Outputs": [{"Dimensions": [1, null]}]}]}',
    '{"Layers": [{"Outputs": [{"Dimensions": [Infinity]}]}]}',
    '{"Layers": [{"Outputs": [{"Dimensions": 7}]}]}',
    '{"Layers": [{}], "Profile": 5}',
    '{"Layers": [{}], "Profile": [{"name": "a", "timeMs": "fast"}]}',
]


@pytest.mark.parametrize("text", DAMAGED)
def test_what_is_no_layer_information_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        from_file(path)
    assert "engine.json" in caught.value.where and "DETAILED" in caught.value.hint


def test_without_samples_onnxruntime_has_nothing_to_time(built: dict[str, Path], tmp_path: Path) -> None:
    source = built["whole"].parent / "chain.onnx"
    build(BuildOptions(source, parse_targets("ort-fp32"), tmp_path, reference=False))
    with pytest.raises(EffcError, match="no sample inputs"):
        explain(tmp_path / "ort-fp32")


def test_shares_add_up() -> None:
    rows = (LayerRow("a", "Conv", "int8", ms=3.0), LayerRow("b", "Exp", "float32", ms=0.5))
    found = shares(rows, [Reformat("r", "int8", "float32", 4, 0.5)])
    assert {name: share.time for name, share in found.items()} == {"int8": 0.75, "float32": 0.125, "reformat": 0.125}
    assert shares((replace(rows[0], ms=None),))["int8"].time is None


def test_keep_float_is_advised_where_it_saves_more_than_conversions_cost() -> None:
    """A convolution loses 0.8 ms; six products lose 15 us each, which two conversions of 10 us outweigh."""
    products = [f"m{number}" for number in range(6)]
    body = " \n ".join(["[c] a = Conv(x, w)", *(f"[{name}] {name} = Mul(a, a)" for name in products)])
    proto = onnx.parser.parse_model(f"{HEAD}g (float[1,2,4,4] x, float[2,2,1,1] w) => (float[1,2,4,4] m5) {{ {body} }}")
    int8 = [Kernel(name, "QLinearMul", "uint8", "uint8", 32, 0.035) for name in products]
    floats = [Kernel(name, "Mul", "float", "float", 128, 0.02) for name in products]
    border = Kernel("x/QuantizeLinear", "QuantizeLinear", "float", "uint8", 32, 0.01)
    mine = (border, Kernel("c_token_1", "QLinearConv", "uint8", "uint8", 32, 1.0), *int8)
    found = measured(mine, (Kernel("a_nchwc", "Conv", "float", "float", 128, 0.2), *floats), Nodes.of(proto.graph))
    assert found.layers[0].nodes == ("c",) and found.layers[0].float_ms == 0.2
    assert [kind.kind for kind in found.kinds] == ["Conv", "Mul", "quantize, dequantize"]
    assert "Take the float32 target" in found.advice[0]
    assert found.advice[1].endswith("--keep-float pays most likely for 'c'.")
    assert "conversions around each would cost" in found.advice[2]
    assert found.verdict.startswith("int8 takes 1.220 ms, float32 0.320 ms")
