"""Small models and schemes for the tests of calibration and backends."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import onnx
from onnx import numpy_helper

from effc.calibration.scheme import OpRule, QParams, Scheme
from effc.compiler import ir
from effc.compiler.oracle import Session


def build(text: str, **weights: np.ndarray) -> ir.Model:
    """A model from ONNX text; `weights` become initializers."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]>\n{text}')
    proto.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in weights.items())
    for number, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}_{number}"
    onnx.checker.check_model(proto)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def convnet(seed: int = 0) -> ir.Model:
    """Conv, Clip(0, 6), Conv, residual Add, Relu, MaxPool, Flatten, Gemm."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    return build(
        """net (float[N,3,8,8] x) => (float[N,5] y) {
            a = Conv<pads=[1,1,1,1]>(x, w1, b1)
            b = Clip(a, zero, six)
            c = Conv<pads=[1,1,1,1]>(b, w2)
            d = Add(b, c)
            e = Relu(d)
            f = MaxPool<kernel_shape=[2,2], strides=[2,2]>(e)
            g = Flatten(f)
            y = Gemm<transB=1>(g, w3, b3)
        }""",
        w1=draw(6, 3, 3, 3) * 3,
        b1=draw(6),
        w2=draw(6, 6, 3, 3),
        w3=draw(5, 96),
        b3=draw(5),
        zero=np.array(0, np.float32),
        six=np.array(6, np.float32),
    )


def images(count: int, seed: int = 1) -> np.ndarray:
    """Normal noise [count, 3, 8, 8]."""
    return np.random.default_rng(seed).normal(size=(count, 3, 8, 8)).astype(np.float32)


def not_a_number() -> ir.Model:
    """Log of an input that may be negative."""
    return build("net (float[N,4] x) => (float[N,4] y) { s = Log(x)\n y = Relu(s) }")


MOVERS = frozenset({"MaxPool", "Flatten", "Reshape", "Concat", "Transpose"})
RULES = {
    "Conv": OpRule(inputs=(0,), weight=1, weight_axis=lambda _: 0, bias=2),
    "Gemm": OpRule(inputs=(0,), weight=1, weight_axis=lambda _: 0, bias=2),
    "Sigmoid": OpRule(output=QParams(1 / 256, -128)),
    **{op: OpRule() for op in ("Add", "Mul", "Relu", "Clip", "Concat")},
    **{op: OpRule(inputs=(0,)) for op in MOVERS - {"Concat"}},
}


def fused(producer: ir.Node, activation: ir.Node) -> bool:
    return producer.op_type in ("Conv", "Add") and activation.op_type in ("Relu", "Clip")


SCHEME = Scheme("test", ops=MappingProxyType(RULES), same_scale=MOVERS, fused=fused)
SCHEMES = {
    "int8": SCHEME,
    "uint8": replace(SCHEME, activation="uint8"),
    "symmetric": replace(SCHEME, symmetric=True),
    "float bias": replace(SCHEME, bias="float"),
}


def run(model: ir.Model, x: np.ndarray) -> np.ndarray:
    return Session(model).run({"x": x})["y"]  # type: ignore[return-value]
