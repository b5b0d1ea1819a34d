"""The support table against the real parser and builder of TensorRT-RTX, over ONNX's node tests and own graphs."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import conformance
import numpy as np
import onnx
import onnx.parser
import pytest

from effc.backends.tensorrt.support.refusals import refusals
from effc.compiler import ir, upgrade
from effc.core.errors import BadInput, Refusal
from effc.core.target import Target
from effc.core.worker import Worker

pytest.importorskip("tensorrt_rtx")

SHARDS = 12
TRT, RTX = Target.parse("trt-int8"), Target.parse("rtx-int8")
STRICTER = {
    "it is float64": "the parser makes the engine's input or output float32 under the same name",
    "its layout is 1": "the parser reads no layout, so that time and batch would be exchanged",
    "it quantizes to uint8": "TensorRT 10 and 11 have int8 alone; TensorRT-RTX parses uint8 with zero point 0",
}
"""Where the table refuses what the parser takes: how its reason begins, and why."""
UNBUILT = frozenset({"NonMaxSuppression", "Loop", "If"})
"""Ops that the parser takes and the builder does not; the table knows."""
FOLDED = frozenset(f"test_affine_grid_{case}_expanded" for case in ("2d", "2d_align_corners", "3d", "3d_align_corners"))
"""Branches on constants, which the simplifier folds before a target sees them: the dead ones do not fit."""


@pytest.fixture(scope="module")
def parser() -> Iterator[Worker]:
    with Worker("parser", deadline=60, env={"PYTHONPATH": str(Path(__file__).parents[1])}) as worker:
        worker.make("parser", "tensorrt_parser:Parser")
        yield worker


def prepared(model: onnx.ModelProto) -> ir.Model:
    """The model at the internal opset with its shapes."""
    return ir.from_bytes(upgrade.upgrade(model.SerializeToString(), ir.INTERNAL_OPSET))


def complaint(parser: Worker, model: ir.Model, feeds: Mapping[str, np.ndarray] | None) -> str:
    """What the parser, and with feeds the builder, says against the model."""
    method, more = ("parse", ()) if feeds is None else ("build", (feeds,))
    return str(parser.method("parser", method, ir.to_bytes(model), *more))


def disagreement(found: tuple[Refusal, ...], complained: str, *, built: bool) -> str:
    """How table and parser differ, empty where they do not or where it is known why."""
    if bool(found) == bool(complained) or any(r.reason.startswith(tuple(STRICTER)) for r in found):
        return ""
    if not built and found and {refusal.op for refusal in found} <= UNBUILT:
        return ""
    return f"table: {[str(refusal) for refusal in found]}; parser: {complained or 'takes it'}"


@pytest.mark.parametrize("shard", range(SHARDS))
def test_the_table_says_what_the_parser_says(shard: int, parser: Worker) -> None:
    """Every node test is parsed, but for functions that are written out what others are; a twelfth is built too."""
    different, asked = {}, 0
    for name, case in conformance.cases().items():
        number = zlib.crc32(name.encode())
        if number % SHARDS != shard or name in FOLDED or ("attention" in name and name.endswith("_expanded")):
            continue
        try:
            model = prepared(case.model)
        except BadInput:  # ops that are newer than the internal opset
            continue
        feeds = case.feeds if number // SHARDS % SHARDS == 0 else None
        said = complaint(parser, model, feeds)
        asked += 1
        if text := disagreement(refusals(model, RTX), said, built=feeds is not None):
            different[name] = text
    assert asked > 50
    assert not different


HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'
OWN = {
    "uint8 in": "g (uint8[1,3] x) => (float[1,3] y) { y = Cast<to=1>(x) }",
    "uint8 out": "g (float[1,3] x) => (uint8[1,3] y) { y = Cast<to=2>(x) }",
    "uint8 inside": "g (float[1,3] x) => (float[1,3] y) { a = Cast<to=2>(x) \n y = Cast<to=1>(a) }",
    "uint8 transposed": "g (uint8[1,3] x) => (float[3,1] y) { a = Transpose(x) \n y = Cast<to=1>(a) }",
    "int16": "g (float[1,3] x) => (float[1,3] y) { a = Cast<to=5>(x) \n y = Cast<to=1>(a) }",
    "float64 inside": "g (float[3] x) => (float[3] y) { a = Cast<to=11>(x) \n b = Sqrt(a) \n y = Cast<to=1>(b) }",
    "nine dims": "g (float[1,1,1,1,1,1,1,1,2] x) => (float[1,1,1,1,1,1,1,1,2] y) { y = Neg(x) }",
    "eight dims": "g (float[1,1,1,1,1,1,1,2] x) => (float[1,1,1,1,1,1,1,2] y) { y = Neg(x) }",
    "int matmul": "g (int32[2,3] x, int32[3,2] z) => (int32[2,2] y) { y = MatMul(x, z) }",
    "int32 relu": "g (int32[2,3] x) => (int32[2,3] y) { y = Relu(x) }",
    "conv 1-D": "g (float[1,1,9] x) => (float[1,1,7] y) <float[1,1,3] w = {1,2,3}> { y = Conv(x, w) }",
    "conv 4-D": (
        "g (float[1,1,4,4,4,4] x) => (float[1,1,4,4,4,4] y) <float[1,1,1,1,1,1] w = {0.5}> { y = Conv(x, w) }"
    ),
    "conv of a computed weight": "g (float[1,1,9] x, float[1,1,3] w) => (float[1,1,7] y) { y = Conv(x, w) }",
    "max pool 4-D": "g (float[1,1,4,4,4,4] x) => (float[1,1,3,3,3,3] y) { y = MaxPool<kernel_shape=[2,2,2,2]>(x) }",
    "Lp pool 1-D": "g (float[1,3,8] x) => (float[1,3,7] y) { y = LpPool<kernel_shape=[2]>(x) }",
    "too many kept": "g (float[4000] x) => (float[3900] y, int64[3900] i) <int64[1] k = {3900}> { y, i = TopK(x, k) }",
    "axes at run time": "g (float[2,3] x, int64[1] a) => (float[p,q] y) { y = ReduceMax(x, a) }",
    "cumsum": "g (float[2,8] x) => (float[2,8] y) <int32 a = {1}> { y = CumSum(x, a) }",
    "one-hot": "g (int64[4] i) => (float[4,6] y) <int64 d = {6}, float[2] v = {0,1}> { y = OneHot(i, d, v) }",
    "open eye": "g (float[N,3] x) => (float[N,3] y) { y = EyeLike(x) }",
    "roi": (
        "g (float[1,1,8,8] x, float[2,4] r) => (float[2,1,2,2] y) <int64[2] b = {0,0}>"
        "{ y = RoiAlign<output_height=2, output_width=2>(x, r, b) }"
    ),
    "scatter, add": (
        "g (float[8] x, float[2] u) => (float[8] y) <int64[2] i = {1,3}>"
        "{ y = ScatterElements<reduction='add'>(x, i, u) }"
    ),
    "scatter": "g (float[8] x, float[2] u) => (float[8] y) <int64[2] i = {1,3}> { y = ScatterElements(x, i, u) }",
    "grid of another type": (
        "g (float16[1,1,4,4] x, float[1,2,2,2] g) => (float16[1,1,2,2] y) { y = GridSample(x, g) }"
    ),
    "grid 3-D": "g (float[1,1,4,4,4] x, float[1,2,2,2,3] g) => (float[1,1,2,2,2] y) { y = GridSample(x, g) }",
    "branches": (
        "g (bool c, float[2] x) => (float[2] y) { y = If(c) <then_branch = t () => (float[2] a) { a = Neg(x) },"
        " else_branch = e () => (float[2] b) { b = Abs(x) }> }"
    ),
    "an op inside a branch": (
        "g (bool c, float[2,2] x) => (float y) { y = If(c) <then_branch = t () => (float a) { a = Det(x) },"
        " else_branch = e () => (float b) { b = ReduceSum<keepdims=0>(x) }> }"
    ),
    "loop": (
        "g (int64 n, float[2] x) => (float[2] y) { c = Constant<value = bool {1}>() \n y = Loop(n, c, x)"
        " <body = b (int64 i, bool k, float[2] v) => (bool m, float[2] w) { m = Identity(k) \n w = Add(v, v) }> }"
    ),
    "a shape at run time": "g (float[2,3] x, int64[2] s) => (float[p,q] y) { y = Reshape(x, s) }",
    "a computed shape at run time": (
        "g (float[2,3] x, int64[2] s) => (float[p,q] y) { t = Abs(s) \n y = Expand(x, t) }"
    ),
    "the shape of an input": "g (float[N,3] x, float[3] z) => (float[N,3] y) { s = Shape(x) \n y = Expand(z, s) }",
    "another domain": "g (float[2] x) => (float[2] y) { y = Odd(x) }",
    "int32 bias": (
        "g (float[1,2] x) => (float[1,2] y) <float s = {0.1}, int32[2] c = {1,2}>"
        "{ b = DequantizeLinear(c, s) \n y = Add(x, b) }"
    ),
    "int8 weight": (
        "g (float[1,2] x) => (float[1,2] y) <float s = {0.1}, int8[2,2] c = {1,2,3,4}>"
        "{ b = DequantizeLinear(c, s) \n y = MatMul(x, b) }"
    ),
    "uint8 weight": (
        "g (float[1,2] x) => (float[1,2] y) <float s = {0.1}, uint8[2,2] c = {1,2,3,4}>"
        "{ b = DequantizeLinear(c, s) \n y = MatMul(x, b) }"
    ),
    **{
        f"Q/DQ {kind} {zero}": (
            f"g (float[1,4] x) => (float[1,4] y) <float s = {{0.1}}, {kind} z = {{{zero}}}>"
            "{ q = QuantizeLinear(x, s, z) \n d = DequantizeLinear(q, s, z) \n y = Relu(d) }"
        )
        for kind, zero in (("int8", 0), ("int8", 3), ("uint8", 0), ("uint8", 128), ("int16", 0), ("int4", 0))
    },
    **{
        f"resize {mode} {coordinates}": (
            "g (float[1,1,4,4] x) => (float[1,1,8,8] y) <float[4] s = {1,1,2,2}, float[8] r = {0,0,0,0,1,1,1,1}>"
            f'{{ y = Resize<mode="{mode}", coordinate_transformation_mode="{coordinates}">(x, r, s) }}'
        )
        for mode in ("nearest", "linear", "cubic")
        for coordinates in ("half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric", "tf_crop_and_resize")
    },
    **{
        f"resize {mode} of the batch": (
            "g (float[2,2,4,4] x) => (float[4,4,8,8] y) <float[4] s = {2,2,2,2}> {"
            f' y = Resize<mode="{mode}", coordinate_transformation_mode="asymmetric">(x, , s) }}'
        )
        for mode in ("nearest", "linear", "cubic")
    },
}


@pytest.mark.parametrize("name", OWN)
def test_own_graphs(name: str, parser: Worker) -> None:
    """What the node tests lack, built too."""
    text = OWN[name].replace("'", '"')
    domain = ', "my.domain" : 1' if "Odd" in text else ""
    text = HEAD.replace("21]", f"21{domain}]") + text.replace("Odd", "my.domain.Odd")
    model = prepared(onnx.parser.parse_model(text))
    feeds = {v.name: np.ones([d if isinstance(d, int) else 4 for d in ir.shape(v) or ()]) for v in model.graph.inputs}
    said = complaint(parser, model, feeds)
    assert disagreement(refusals(model, RTX), said, built=True) == ""


REASONS = [
    ("int32 bias", RTX, "DequantizeLinear", "int32 bias", "float"),
    ("Q/DQ uint8 128", TRT, "QuantizeLinear", "uint8", "symmetrically"),
    ("Q/DQ int8 3", TRT, "QuantizeLinear", "zero point is not 0", "symmetrically"),
    ("uint8 transposed", TRT, "Transpose", "uint8", "cast"),
    ("an op inside a branch", TRT, "Det", "no such layer", ""),
    ("roi", RTX, "RoiAlign", "TensorRT-RTX", "trt-"),
]


@pytest.mark.parametrize(("name", "target", "op", "reason", "hint"), REASONS)
def test_a_refusal_says_what_why_and_what_to_do(name: str, target: Target, op: str, reason: str, hint: str) -> None:
    found = refusals(prepared(onnx.parser.parse_model(HEAD + OWN[name])), target)[0]
    assert found.op == op
    assert reason in found.reason
    assert hint in found.hint


@pytest.mark.parametrize("name", ["roi", "scatter, add"])
def test_plugins_make_a_difference(name: str) -> None:
    model = prepared(onnx.parser.parse_model(HEAD + OWN[name].replace("'", '"')))
    assert refusals(model, RTX) and not refusals(model, TRT)


def test_a_difference_would_be_seen() -> None:
    refusal = Refusal("n", "Add", "no reason")
    assert disagreement((refusal,), "", built=True)
    assert disagreement((), "Add: no", built=False)
    assert not disagreement((refusal,), "Add: no", built=False)
