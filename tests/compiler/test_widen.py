from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from effc.compiler import ir
from effc.compiler.oracle import Session
from effc.compiler.widen import widen

KINDS = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
OPS = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
}


def model_of(text: str, *weights: onnx.TensorProto, fills: Mapping[str, float] = MappingProxyType({})) -> ir.Model:
    """The model, with float16 `value` attributes by op, which the text form does not have."""
    proto = parser.parse_model(f'<ir_version: 10, opset_import: ["": 22]> g {text}')
    for node in proto.graph.node:
        if node.op_type in fills:
            fill = numpy_helper.from_array(np.asarray([fills[node.op_type]], np.float16))
            node.attribute.append(helper.make_attribute("value", fill))
    proto.graph.initializer.extend(weights)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True))


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize(
    "ops", [("Add", "Mul"), ("Mul", "Sub", "Div"), ("Div", "Add", "Add", "Mul", "Sub")], ids="-".join
)
def test_each_node_rounds(ops: tuple[str, ...], dtype: str) -> None:
    """Bit for bit what NumPy gives in the narrow type, where float32 throughout would give something else."""
    kind, rng = KINDS[dtype], np.random.default_rng(5)
    x, weights = rng.normal(1, 1, 4096).astype(kind), [rng.normal(2, 1, 4096).astype(kind) for _ in ops]
    lines = [f"t{i + 1} = {op}(t{i}, w{i})" for i, op in enumerate(ops)]
    given = [
        helper.make_tensor(f"w{i}", TensorProto.DataType.Value(dtype.upper()), [4096], w.tobytes(), raw=True)
        for i, w in enumerate(weights)
    ]
    model = model_of(f"({dtype}[4096] t0) => ({dtype}[4096] t{len(ops)}) {{ {' '.join(lines)} }}", *given)
    found = Session(widen(model)).run({"t0": x.astype(np.float32)})[f"t{len(ops)}"]
    expected, loose = x, x.astype(np.float32)
    for op, weight in zip(ops, weights, strict=True):
        expected, loose = OPS[op](expected, weight), OPS[op](loose, weight.astype(np.float32))
    assert found.dtype == np.float32 and expected.dtype == kind
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert (found != loose.astype(kind).astype(np.float32)).mean() > 0.05


@pytest.mark.parametrize("dtype", KINDS)
def test_inputs_and_casts_round(dtype: str) -> None:
    number = {"float16": 10, "bfloat16": 16}[dtype]
    model = model_of(
        f"(float[64] x, {dtype}[64] z) => (float[64] y, {dtype}[64] u) "
        f"{{ h = Cast<to = {number}>(x) y = Cast<to = 1>(h) u = Neg(z) }}"
    )
    x = np.random.default_rng(0).normal(0, 1, 64).astype(np.float32)
    found, rounded = Session(widen(model)).run({"x": x, "z": x}), x.astype(KINDS[dtype]).astype(np.float32)
    np.testing.assert_array_equal(found["y"], rounded)
    np.testing.assert_array_equal(found["u"], -rounded)


def test_an_input_that_is_an_output_keeps_its_name() -> None:
    wide = widen(model_of("(float16[4] x) => (float16[4] x, float16[4] y) { y = Mul(x, x) }"))
    assert [value.name for value in (*wide.graph.inputs, *wide.graph.outputs)] == ["x", "x", "y"]
    x = np.asarray([0.1, 1.0, 2.5, 3.3], np.float16)
    found = Session(wide).run({"x": x.astype(np.float32)})
    np.testing.assert_array_equal(found["y"], (x * x).astype(np.float32))


@pytest.mark.parametrize("held", ["int8", "float8e4m3fn"])
@pytest.mark.parametrize("scale", ["float16", "float"])
def test_quantization_stays(held: str, scale: str) -> None:
    kind = np.dtype(np.float16 if scale == "float16" else np.float32)
    number = {"int8": TensorProto.INT8, "float8e4m3fn": TensorProto.FLOAT8E4M3FN}[held]
    zero = helper.make_tensor("z", number, [], b"\0", raw=True)
    cast = 10 if scale == "float16" else 1
    model = model_of(
        f"(float[256] x) => (float[256] y) {{ h = Cast<to = {cast}>(x) q = QuantizeLinear(h, s, z) "
        "d = DequantizeLinear(q, s, z) y = Cast<to = 1>(d) }",
        numpy_helper.from_array(np.asarray(0.037, kind), "s"),
        zero,
    )
    wide = widen(model)
    assert [n.op_type for n in wide.graph if "Quantize" in n.op_type or "quantize" in n.op_type] == [
        "QuantizeLinear",
        "DequantizeLinear",
    ]
    x = np.random.default_rng(0).normal(0, 1, 256).astype(np.float32)
    step = np.float32(np.asarray(0.037, kind))
    given = x.astype(kind).astype(np.float32) / step
    steps = (
        np.clip(np.rint(given), -128, 127)
        if held == "int8"
        else given.astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
    )
    expected = (steps * step).astype(kind).astype(np.float32)
    np.testing.assert_array_equal(Session(wide).run({"x": x})["y"], expected)


def test_constants_without_inputs_and_subgraphs() -> None:
    model = model_of(
        "(bool c, int64[1] n, float16[3] x) => (float16[3] y) { "
        "f = ConstantOfShape(n) k = Constant() "
        "y = If(c) <then_branch = t () => (float16[3] p) { p = Mul(f, x) }, "
        "else_branch = e () => (float16[3] q) { q = Add(k, x) }> }",
        fills={"ConstantOfShape": 0.1, "Constant": 0.3},
    )
    source = ir.to_bytes(model)
    session, x = Session(widen(model)), np.asarray([1.1, 2.3, 3.7], np.float16)
    assert ir.to_bytes(model) == source
    for chosen, expected in ((True, np.float16(0.1) * x), (False, np.float16(0.3) + x)):
        found = session.run({"c": np.asarray(chosen), "n": np.asarray([3]), "x": x.astype(np.float32)})["y"]
        np.testing.assert_array_equal(found, expected.astype(np.float32))
