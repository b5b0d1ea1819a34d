"""Ops that `effc simplify` composes, and their like in new exports: every float target takes each of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx.parser
import pytest

from effc.backends import base
from effc.calibration.collect import kept_float
from effc.compiler import ir, phase, upgrade
from effc.compiler.passes import SIMPLIFY
from effc.compiler.settle import settle
from effc.core.target import Target
from effc.verbs.asked import ask
from effc.verbs.check import every_target

ROWS, IMAGES, HEADS = "float[N,6,8]", "float[N,6,4,4]", "float[N,3,4,8]"
S8, S6, SQUARE = np.ones(8, np.float32), np.ones(6, np.float32), np.ones((4, 4), np.float32)
REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Sum", "SumSquare")
ACTIVATIONS = (
    *("Celu", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Selu", "Shrink", "Sigmoid", "Softplus"),
    *("Softsign", "Swish", "Tanh", "ThresholdedRelu"),
)
OPS: list[tuple[int, str, str, Mapping[str, np.ndarray]]] = [
    *((24, ROWS, f"{op}(x)", {}) for op in ACTIVATIONS),
    *((24, ROWS, f"Reduce{kind}(x, a)", {"a": np.array([-1], np.int64)}) for kind in REDUCTIONS),
    (24, ROWS, 'Gelu<approximate="tanh">(x)', {}),
    (24, ROWS, "Elu<alpha=0.5>(x)", {}),
    (24, ROWS, "Swish<alpha=1.7>(x)", {}),
    (24, ROWS, "Softmax(x)", {}),
    (24, ROWS, "LogSoftmax(x)", {}),
    (24, ROWS, "PRelu(x, s)", {"s": S8}),
    (17, ROWS, "LayerNormalization(x, s, s)", {"s": S8}),
    (24, ROWS, "LayerNormalization(x, s)", {"s": S8}),
    (24, ROWS, "RMSNormalization(x, s)", {"s": S8}),
    (22, ROWS, "LpNormalization(x)", {}),
    (22, IMAGES, "InstanceNormalization(x, s, s)", {"s": S6}),
    (22, IMAGES, "GroupNormalization<num_groups=2>(x, s, s)", {"s": S6}),
    (22, IMAGES, "MeanVarianceNormalization(x)", {}),
    (22, IMAGES, "GlobalLpPool(x)", {}),
    (23, HEADS, "Attention(x, x, x)", {}),
    (24, HEADS, "Attention(x, x, x, m)", {"m": SQUARE}),
    (24, HEADS, "Attention<is_causal=1>(x, x, x)", {}),
    (24, ROWS, "Attention<q_num_heads=2, kv_num_heads=2>(x, x, x)", {}),
    (24, "float[2,3,4,8]", "RotaryEmbedding(x, c, c)", {"c": np.ones((2, 4, 4), np.float32)}),
]
FLOAT = tuple(target for target in every_target() if base.for_target(target).scheme(target) is None)
INT8 = tuple(target for target in every_target() if target.precision == "int8")


def prepared(opset: int, text: str, weights: Mapping[str, np.ndarray]) -> ir.Model:
    """The model of a text as builds start with it."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]> g {text}')
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    for tensor in (value.type.tensor_type for value in proto.graph.output):
        if not tensor.shape.dim:
            tensor.ClearField("shape")
    model = ir.from_bytes(upgrade.upgrade(proto.SerializeToString(), ir.INTERNAL_OPSET))
    settle(model, where="test")
    phase.run(model, SIMPLIFY)
    return model


@pytest.mark.parametrize(("opset", "dtype", "call", "weights"), OPS, ids=[f"{o} {c}" for o, _, c, _ in OPS])
def test_every_float_target_takes_it(opset: int, dtype: str, call: str, weights: Mapping[str, np.ndarray]) -> None:
    shaped = dtype if "Normalization" in call else "float"
    model = prepared(opset, f"({dtype} x) => ({shaped} y) {{ y = {call} }}", weights)
    assert FLOAT
    for found in ask(model, FLOAT, {"N": 1}):
        assert not found.blocked, found


BLOCK = """(float[1,4,8] x) => (float[1,4,8] y) {
    a = MatMul(x, w) n = LayerNormalization(a, s, s) t = Transpose<perm=[0,2,1]>(n) q = MatMul(n, t) z = Add(q, m)
    p = Softmax(z) v = MatMul(p, n) y = MatMul(v, w)
}"""
STATISTICS = frozenset({"Div", "Pow", "ReduceMean", "Sqrt"})


@pytest.mark.parametrize("target", INT8, ids=str)
def test_statistics_and_masked_scores_stay_in_floats(target: Target) -> None:
    """8 bits hold no variance, and no scores beside a mask's lowest value."""
    weights = {"w": np.ones((8, 8), np.float32), "s": S8, "m": np.full((4, 4), -1e4, np.float32)}
    model, backend = prepared(17, BLOCK, weights), base.for_target(target)
    phase.run(model, backend.legalize(target))
    kept, scheme = kept_float(model), backend.scheme(target)
    assert scheme is not None
    taken = [node for node in model.graph if node.op_type in scheme.ops and scheme.accepts(node)]
    quantizable = {node.outputs[0].name for node in taken} - kept
    fragile = {node.outputs[0].name for node in model.graph if node.op_type in STATISTICS}
    scores = {node.inputs[0].name for node in model.graph if node.op_type == "Softmax" and node.inputs[0] is not None}
    assert scores and not quantizable & (fragile | scores)
