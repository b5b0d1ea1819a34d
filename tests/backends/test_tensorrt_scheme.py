"""Q/DQ in TensorRT's form: where they stand, what they hold, that the parser takes them, and what they cost."""

# ruff: noqa: E501  (a graph is one row)

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest
from artifacts import Artifacts
from hypothesis import given, settings
from hypothesis import strategies as st
from support import Classifier
from tiny_models import build

from effc import stages
from effc.backends import base
from effc.backends.tensorrt.scheme import FP8, INT8, SCHEMES
from effc.calibration.formats import FLOAT8, element, encode
from effc.calibration.quantize import Quantized, quantize
from effc.calibration.scheme import Scheme
from effc.compiler import ir, phase, pipeline
from effc.compiler.oracle import Session
from effc.compiler.ranges import Range
from effc.core.errors import UnsupportedOps
from effc.core.options import CalibrationOptions, DataOptions
from effc.core.target import Target
from effc.core.worker import Worker

X = "float[N,4,8,8] x"
_SHAPES = {"W": (4, 4, 3, 3), "V": (4, 4, 1, 1), "D": (4, 1, 3, 3), "T": (4, 4, 2, 2), "M": (8, 8), "E": (9, 8)}
KERNELS = {name: np.random.default_rng(0).normal(size=shape).astype(np.float32) for name, shape in _SHAPES.items()}
SAME = "<pads = [1,1,1,1]>"


def written(model: ir.Model) -> list[str]:
    """The graph a line a node, `[a]` standing for a quantized and dequantized; constants and their Q/DQ left out."""
    lines, names = [], {v: v.name or "" for v in model.graph.inputs}
    for node in model.graph:
        taken = [v for v in node.inputs if v is not None and ir.const(v) is None]
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            if taken:
                names[node.outputs[0]] = names[taken[0]] if node.op_type[0] == "Q" else f"[{names[taken[0]]}]"
            continue
        names |= {v: v.name or "" for v in node.outputs}
        read = ", ".join(names[v] for v in taken if v in names)
        lines.append(f"{', '.join(v.name or '' for v in node.outputs)} = {node.op_type}({read})")
    return lines


def placed(body: str, scheme: Scheme = INT8, inputs: str = X) -> Quantized:
    """The body quantized, every tensor ranging from -1 to 2."""
    used = {name: array for name, array in KERNELS.items() if f"({name}" in body or f" {name})" in body}
    model = build(f"net ({inputs}) => (float y) {{ {body} }}", **used)
    return quantize(model, {v.name or "": Range(-1.0, 2.0) for v in ir.values(model.graph)}, scheme)


PLACED = {
    "activation inside, last layer in float": (
        f"a = Conv{SAME}(x, W)\n b = Relu(a)\n y = Conv(b, V)",
        ["a = Conv([x])", "b = Relu(a)", "y = Conv([b])"],
    ),
    "residual sum inside the last convolution": (
        f"a = Conv{SAME}(x, W)\n b = Relu(a)\n c = Conv(b, V)\n e = Add(c, b)\n f = Relu(e)\n y = Conv(f, V)",
        ["a = Conv([x])", "b = Relu(a)", "c = Conv([b])", "e = Add(c, [b])", "f = Relu(e)", "y = Conv([f])"],
    ),
    "residual of two convolutions": (
        "a = Conv(x, V)\n b = Conv(x, V)\n c = Add(a, b)\n y = Conv(c, V)",
        ["a = Conv([x])", "b = Conv([x])", "c = Add(a, [b])", "y = Conv([c])"],
    ),
    "residual after an activation": (
        "a = Conv(x, V)\n b = Relu(a)\n c = Add(x, b)\n y = Conv(c, V)",
        ["a = Conv([x])", "b = Relu(a)", "c = Add([x], [b])", "y = Conv([c])"],
    ),
    "concat at one scale": (
        "a = Conv(x, V)\n b = Conv(x, V)\n c = Concat<axis = 2>(a, b)\n y = Conv(c, V)",
        ["a = Conv([x])", "b = Conv([x])", "c = Concat([a], [b])", "y = Conv([c])"],
    ),
    "concat that nothing in 8 bits reads": (
        "a = Conv(x, V)\n b = Conv(x, V)\n y = Concat<axis = 2>(a, b)",
        ["a = Conv([x])", "b = Conv([x])", "y = Concat(a, b)"],
    ),
    "only float readers": (
        "a = Conv(x, V)\n b = Relu(a)\n c = Exp(b)\n y = Conv(c, V)",
        ["a = Conv([x])", "b = Relu(a)", "c = Exp(b)", "y = Conv([c])"],
    ),
    "what a kernel makes in 8 bits is read so by all": (
        "a = Conv(x, V)\n b = Conv(a, V)\n c = Exp(a)\n y = Mul(b, c)",
        ["a = Conv([x])", "b = Conv([a])", "c = Exp([a])", "y = Mul(b, c)"],
    ),
    "what a float op makes is read in float by float ops": (
        "a = Exp(x)\n b = Conv(a, V)\n y = Add(b, a)",
        ["a = Exp(x)", "b = Conv([a])", "y = Add(b, a)"],
    ),
    "activation behind a float op": (
        "a = Exp(x)\n b = Relu(a)\n y = Conv(b, V)",
        ["a = Exp(x)", "b = Relu(a)", "y = Conv([b])"],
    ),
    "depthwise and pools": (
        "a = Conv<group = 4, pads = [1,1,1,1]>(x, D)\n b = MaxPool<kernel_shape = [2,2]>(a)\n c = GlobalAveragePool(b)\n y = Conv(c, V)",
        ["a = Conv([x])", "b = MaxPool([a])", "c = GlobalAveragePool([b])", "y = Conv([c])"],
    ),
    "squeeze and excite": (
        f"a = Conv{SAME}(x, W)\n h = HardSwish(a)\n g = GlobalAveragePool(h)\n c = Conv(g, V)\n f = HardSigmoid(c)\n o = Mul(h, f)\n y = Conv(o, V)",
        [
            "a = Conv([x])",
            "h = HardSwish(a)",
            "g = GlobalAveragePool([h])",
            "c = Conv([g])",
            "f = HardSigmoid(c)",
            "o = Mul([h], f)",
            "y = Conv([o])",
        ],
    ),
    "deconvolution": (
        "a = ConvTranspose<strides = [2,2]>(x, T)\n y = Conv(a, V)",
        ["a = ConvTranspose([x])", "y = Conv([a])"],
    ),
    "products with constants alone": (
        "a = MatMul(x, M)\n b = MatMul(a, a)\n c = Softmax(b)\n y = MatMul(c, M)",
        ["a = MatMul([x])", "b = MatMul(a, a)", "c = Softmax(b)", "y = MatMul([c])"],
    ),
    "moved in 8 bits up to the product": (
        "a = Conv(x, V)\n b = Transpose<perm = [0,2,1,3]>(a)\n y = MatMul(b, M)",
        ["a = Conv([x])", "b = Transpose([a])", "y = MatMul([b])"],
    ),
    "normalized sums": (
        "a = MatMul(x, M)\n b = Add(x, a)\n c = Softmax(b)\n y = MatMul(c, M)",
        ["a = MatMul([x])", "b = Add(x, a)", "c = Softmax(b)", "y = MatMul([c])"],
    ),
}


@pytest.mark.parametrize("name", PLACED)
def test_placement_in_int8(name: str) -> None:
    body, expected = PLACED[name]
    made = placed(body)
    assert written(made.model) == expected
    assert set(made.precision.values()) <= {"int8", "float32"}


def test_placement_in_fp8() -> None:
    """Matrix cores multiply float8, nothing else does: pools and sums stay float."""
    made = placed(
        "a = Conv(x, V)\n b = MaxPool<kernel_shape = [1,1]>(a)\n c = Conv(b, V)\n e = Add(c, b)\n y = Conv(e, V)", FP8
    )
    assert written(made.model) == ["a = Conv([x])", "b = MaxPool(a)", "c = Conv([b])", "e = Add(c, b)", "y = Conv([e])"]
    assert made.precision["Conv_0"] == "fp8"


def test_embedding_stays_float() -> None:
    made = placed("a = Gather(E, i)\n y = MatMul(a, M)", inputs="int64[N,3] i")
    assert written(made.model) == ["a = Gather(i)", "y = MatMul([a])"]
    table = next(n for n in made.model.graph if n.op_type == "Gather").inputs[0]
    assert table is not None
    assert table.dtype == ir.DataType.FLOAT


def test_one_scale_over_a_concat() -> None:
    body, _ = PLACED["concat at one scale"]
    made = placed(body)
    assert len({made.qparams[name] for name in "abc"}) == 1


@pytest.mark.parametrize(
    ("body", "inputs", "axis", "scales"),
    [
        ("y = Conv(x, W)", X, 0, 4),
        ("y = Conv<group = 4>(x, D)", X, 0, 4),
        ("y = ConvTranspose(x, T)", X, 1, 4),
        ("y = ConvTranspose<group = 2>(x, T)", X, None, 1),
        ("y = Gemm(x, M)", "float[N,8] x", 1, 8),
        ("y = Gemm<transB = 1>(x, M)", "float[N,8] x", 0, 8),
        ("y = MatMul(x, M)", X, 1, 8),
    ],
)
@pytest.mark.parametrize("precision", SCHEMES)
def test_channels_of_weights(body: str, inputs: str, axis: int | None, scales: int, precision: str) -> None:
    made = placed(body, SCHEMES[precision], inputs)
    if precision == "fp8" and ("Transpose" in body or "group" in body):
        assert set(made.precision.values()) == {"float32"}
        return
    weight = made.model.graph[-1].inputs[1]
    node = weight.producer() if weight is not None else None
    assert node is not None
    scale, held = ir.const(node.inputs[1]), ir.const(node.inputs[0])
    assert scale is not None and held is not None
    assert (scale.size, held.dtype) == (scales, element(SCHEMES[precision].activation))
    assert axis is None or ir.attr_int(node, "axis", -1) == axis
    step = scale.reshape([-1 if i == axis else 1 for i in range(held.ndim)]) if axis is not None else scale
    original = KERNELS[body.rsplit(", ", 1)[1][0]]
    limit = 0.5001 * step if precision != "fp8" else np.maximum(np.abs(original), step * 2.0**-6) * 2.0**-4 * 1.0001
    # The scale of the least squared error may cut off the largest weights.
    inside = np.abs(original) <= step * (127 if precision != "fp8" else 448)
    assert (np.abs(held.astype(np.float64) * step - original) <= limit)[inside].all()
    assert inside.mean() > 0.9
    assert scale.max() <= np.abs(original).max() / (127 if precision != "fp8" else 448) * 1.0001


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(0, 1))
@settings(max_examples=300, deadline=None)
def test_float8_keeps_the_leading_bits(a: float, b: float, t: float) -> None:
    """Within 2^-4 of the value (half of the last of 3 bits), or of the smallest normal number, 2^-6."""
    observed = Range(min(a, b), max(a, b))
    value = np.array([observed.lo + t * (observed.hi - observed.lo)])
    q = FP8.qparams(observed)
    held = encode(value / q.scale, q.zero_point, FLOAT8).astype(np.float64) * q.scale
    assert q.zero_point == 0
    assert abs(held[0] - value[0]) <= max(abs(value[0]), q.scale * 2.0**-6) * 2.0**-4 * (1 + 1e-6)


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(0, 1))
@settings(max_examples=300, deadline=None)
def test_int8_is_within_half_a_step(a: float, b: float, t: float) -> None:
    observed = Range(min(a, b), max(a, b))
    value = np.array([observed.lo + t * (observed.hi - observed.lo)])
    q = INT8.qparams(observed)
    held = encode(value / q.scale, q.zero_point, "int8").astype(np.float64) * q.scale
    assert q.zero_point == 0
    assert abs(held[0] - value[0]) <= q.scale * 0.5001


# What TensorRT-RTX's parser says of every graph of the table.

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_ALSO_IN_FP8 = ("conv_depthwise", "conv_depthwise_multiplier", "conv_grouped", "conv_transpose", "conv_transpose_full")
_SHAPED = ("conv_transpose_output_padding", "conv_transpose_output_shape")
REFUSED = {
    "rtx-int8": {"product_of_two_relu"},
    "rtx-fp8": {"product_of_two_relu", *_ALSO_IN_FP8, *_SHAPED},
}
"""Graphs with a weighted op whose weights are no constants, or for which there is no float8 kernel."""
NO_WEIGHTS = "not one of its nodes can run quantized"


@pytest.fixture(scope="module")
def parser() -> Iterator[Worker]:
    pytest.importorskip("tensorrt_rtx")
    with Worker("parser", deadline=60, env={"PYTHONPATH": str(Path(__file__).parents[1])}) as worker:
        worker.make("parser", "tensorrt_parser:Parser")
        yield worker


@pytest.mark.parametrize("target", REFUSED)
def test_every_graph_in_tensorrt_s_form(target: str, parser: Worker, tmp_path: Path) -> None:
    """The parser and the builder take it; zero points are 0 and biases floats; only what has no weighted op is refused."""
    complaints, refused = {}, set()
    for graph in graphs.GRAPHS:
        try:
            model = _quantized(graph, Target.parse(target), tmp_path)
        except UnsupportedOps as error:
            assert NO_WEIGHTS in str(error), graph.name
            refused.add(graph.name)
            continue
        _check_form(model)
        if complaint := parser.method("parser", "build", ir.to_bytes(model), graph.samples(1)):
            complaints[graph.name] = complaint
    assert complaints == {}
    weighted = {g.name for g in graphs.GRAPHS if {n.op_type for n in g.proto().graph.node} & WEIGHTED}
    assert refused & weighted == REFUSED[target]


def _quantized(graph: graphs.Graph, target: Target, folder: Path) -> ir.Model:
    legal = Artifacts.legal(graph, target)
    made = Artifacts._quantize(graph, legal, folder)
    assert made is not None
    onnx.checker.check_model(ir.to_proto(made.model), full_check=True)
    return made.model


def _check_form(model: ir.Model) -> None:
    for node in model.graph:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = ir.const(node.inputs[2])
            assert zero is not None
            assert not zero.astype(np.float32).any()
        elif node.op_type in ("Conv", "ConvTranspose", "Gemm") and len(node.inputs) > 2:
            assert ir.const(node.inputs[2]) is None or ir.const(node.inputs[2]).dtype == np.float32  # type: ignore[union-attr]


# Accuracy on true labels.


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_trained_models_keep_their_accuracy(precision: str, trained: Classifier) -> None:
    """At most 1 point of top-1 is lost, by the Q/DQ graph in ONNX Runtime without optimizations."""
    target = Target.parse(f"trt-{precision}")
    options = CalibrationOptions(DataOptions(str(trained.calib)))
    model = pipeline.prepare(trained.model, proof=False).model
    data = stages.calibrated(model, options)
    backend = base.for_target(target)
    legal = stages.Legal(target, backend, model, phase.run(model, backend.legalize(target)))
    made = stages.quantized(legal, SCHEMES[precision], stages.known(legal, data), options, ())
    images, labels = trained.load()
    right = [
        float(np.mean(Session(m).run({"input": images})["logits"].argmax(axis=1) == labels))
        for m in (model, made.model)
    ]
    assert right[1] >= right[0] - 0.01


def test_uint8_around_128_becomes_int8_and_an_int32_bias_float(parser: Worker) -> None:
    """Q/DQ that came with the model, in ONNX Runtime's usual form."""
    model = build(
        f"""net ({X}) => (float[N,4,8,8] y) {{
            q = QuantizeLinear(x, xs, xz)
            p = DequantizeLinear(q, xs, xz)
            k = DequantizeLinear<axis = 0>(wq, ws, wz)
            b = DequantizeLinear<axis = 0>(bq, bs, bz)
            y = Conv(p, k, b)
        }}""",
        xs=np.array(0.03, np.float32),
        xz=np.array(128, np.uint8),
        wq=np.random.default_rng(0).integers(-127, 128, (4, 4, 1, 1)).astype(np.int8),
        ws=np.full(4, 0.01, np.float32),
        wz=np.zeros(4, np.int8),
        bq=np.array([1000, -2000, 0, 5], np.int32),
        bs=np.full(4, 3e-4, np.float32),
        bz=np.zeros(4, np.int32),
    )
    feeds = {"x": np.random.default_rng(1).normal(size=(2, 4, 8, 8)).astype(np.float32)}
    before = Session(model).run(feeds)["y"]
    target = Target.parse("rtx-int8")
    legal = stages.legalize(model, target)
    assert isinstance(legal, stages.Legal), legal
    assert np.abs(Session(legal.model).run(feeds)["y"] - before).max() < 1e-5
    _check_form(legal.model)
    assert parser.method("parser", "parse", ir.to_bytes(legal.model)) == ""


def test_asymmetric_quantization_of_the_input_model_is_refused() -> None:
    model = build(
        f"""net ({X}) => (float[N,4,8,8] y) {{
            q = QuantizeLinear(x, xs, xz)
            p = DequantizeLinear(q, xs, xz)
            y = Relu(p)
        }}""",
        xs=np.array(0.03, np.float32),
        xz=np.array(3, np.uint8),
    )
    found = stages.legalize(model, Target.parse("trt-int8"), defer=True)
    assert isinstance(found, UnsupportedOps)
    assert "zero point" in str(found)
