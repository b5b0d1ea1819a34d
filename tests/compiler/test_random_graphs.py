"""Random small graphs keep their outputs through all phases, and QAT graphs keep their Q/DQ."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from effc.compiler import frontend, ir, oracle, phase
from effc.compiler.metrics import sqnr_db
from effc.compiler.passes import SIMPLIFY

CHANNELS, SIZE = 4, 6
SHAPE = (1, CHANNELS, SIZE, SIZE)


class Builder:
    """A graph whose tensors all have one shape, so that any op may read any of them."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.tensors = ["x"]
        self.random = np.random.default_rng(0)

    def weight(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def uniform(self, *shape: int) -> str:
        return self.weight(self.random.uniform(0.5, 1.5, shape).astype(np.float32))

    def add(self, op: str, *inputs: str, **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def model(self, outputs: list[str]) -> onnx.ModelProto:
        info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("x", *outputs)]
        graph = helper.make_graph(self.nodes, "random", info[:1], info[1:], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _padded(b: Builder, x: str) -> str:
    pads = b.weight(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    return b.add("Conv", b.add("Pad", x, pads), b.uniform(CHANNELS, CHANNELS, 3, 3))


def _flat_and_back(b: Builder, x: str) -> str:
    flat = b.add("Flatten", x)
    return b.add("Reshape", flat, b.add("Shape", x))


def _quantized(b: Builder, x: str) -> str:
    scale, zero = b.weight(np.float32(0.1)), b.weight(np.int8(3))
    return b.add("DequantizeLinear", b.add("QuantizeLinear", x, scale, zero), scale, zero)


def _normalized(b: Builder, x: str) -> str:
    return b.add("BatchNormalization", x, *(b.uniform(CHANNELS) for _ in range(4)))


def _gated(b: Builder, x: str) -> str:
    three, zero, six = (b.weight(np.float32(v)) for v in (3, 0, 6))
    return b.add("Div", b.add("Mul", x, b.add("Clip", b.add("Add", x, three), zero, six)), six)


UNARY: tuple[Callable[[Builder, str], str], ...] = (
    lambda b, x: b.add("Relu", x),
    lambda b, x: b.add("Clip", x, b.weight(np.float32(-1)), b.weight(np.float32(2))),
    lambda b, x: b.add("Identity", x),
    lambda b, x: b.add("Dropout", x),
    lambda b, x: b.add("Sigmoid", x),
    lambda b, x: b.add("Transpose", x, perm=[0, 1, 3, 2]),
    lambda b, x: b.add("Conv", x, b.uniform(CHANNELS, 1, 3, 3), group=CHANNELS, auto_pad="SAME_UPPER"),
    lambda b, x: b.add("ConvTranspose", x, b.uniform(CHANNELS, CHANNELS, 1, 1)),
    lambda b, x: b.add("Mul", x, b.uniform(CHANNELS, 1, 1)),
    lambda b, x: b.add("Add", b.uniform(1), x),
    lambda b, x: b.add("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    lambda b, x: b.add("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    _padded,
    _flat_and_back,
    _quantized,
    _normalized,
    _gated,
)


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    builder = Builder()
    for _ in range(draw(st.integers(1, 9))):
        x = builder.tensors[-1] if draw(st.booleans()) else draw(st.sampled_from(builder.tensors))
        if draw(st.integers(0, 3)) == 0:
            made = builder.add(draw(st.sampled_from(["Add", "Mul", "Max"])), x, draw(st.sampled_from(builder.tensors)))
        else:
            made = draw(st.sampled_from(UNARY))(builder, x)
        builder.tensors.append(made)
    outputs = {builder.tensors[-1], *draw(st.lists(st.sampled_from(builder.tensors[1:]), max_size=2))}
    return builder.model(sorted(outputs))


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(models())
def test_outputs_are_kept(proto: onnx.ModelProto) -> None:
    model = ir.from_bytes(proto.SerializeToString())
    frontend.settle(model, where="test")
    phase.run(model, SIMPLIFY)
    feeds = oracle.seeded_feeds(proto, 1)
    before, after = oracle.Session(proto).run(feeds), oracle.Session(model).run(feeds)
    # a rounding difference before a QuantizeLinear may move a value by a whole step
    quantized = any(node.op_type == "QuantizeLinear" for node in proto.graph.node)
    for name, array in before.items():
        assert sqnr_db(array, after[name]) > (30 if quantized else 90)
    assert phase.run(model, SIMPLIFY) == ()


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(models())
def test_shared_names_mean_the_same(proto: onnx.ModelProto) -> None:
    model = ir.from_bytes(proto.SerializeToString())
    frontend.settle(model, where="test")
    phase.run(model, SIMPLIFY)
    quantized = any(node.op_type == "QuantizeLinear" for node in proto.graph.node)
    shared = sorted({n for node in proto.graph.node for n in node.output} & {v.name for v in ir.values(model.graph)})
    made = [name for name in shared if name not in model.graph.initializers]
    feeds = oracle.seeded_feeds(proto, 2)
    before, after = oracle.Session(proto, outputs=made).run(feeds), oracle.Session(model, outputs=made).run(feeds)
    assert all(sqnr_db(before[name], after[name]) > (30 if quantized else 90) for name in made)
