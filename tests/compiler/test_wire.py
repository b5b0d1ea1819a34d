from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import numpy_helper, parser

from effc.compiler import ir, stored, wire

RNG = np.random.default_rng(0)
WEIGHTS = {
    "float32": RNG.normal(size=(64, 32)).astype(np.float32),
    "not contiguous": RNG.normal(size=(32, 64)).astype(np.float32).T,
    "float16": RNG.normal(size=(64, 32)).astype(np.float16),
    "int8": RNG.integers(-128, 127, (64, 32)).astype(np.int8),
    "few": np.arange(3, dtype=np.float32),
    "none": np.zeros((0, 4096), np.float32),
}


def model_with(tensor: onnx.TensorProto) -> onnx.ModelProto:
    text = '<ir_version: 10, opset_import: ["": 21]> g (float[n] x) => (float[n] y) { y = Relu(x) }'
    proto = parser.parse_model(text)
    proto.producer_name = "somebody"
    proto.graph.node.add(op_type="Identity", name="other", input=["w"], output=["v"])
    proto.graph.output.append(onnx.helper.make_tensor_value_info("v", tensor.data_type, tensor.dims))
    proto.graph.initializer.append(tensor)
    return proto


def written(model: ir.Model, path: Path) -> onnx.ModelProto:
    before = ir.to_bytes(model)
    stored.write(model, path)
    assert ir.to_bytes(model) == before
    found = onnx.load(path)
    onnx.checker.check_model(found, full_check=True)
    return found


@pytest.mark.parametrize("array", WEIGHTS.values(), ids=WEIGHTS.keys())
@pytest.mark.parametrize("held", [False, True], ids=["in a proto", "as an array"])
def test_what_is_written_is_the_model(array: np.ndarray, held: bool, tmp_path: Path) -> None:
    model = ir.from_proto(model_with(numpy_helper.from_array(array, "w")))
    if held:
        model.graph.initializers["w"].const_value = onnx_ir.tensor(array, name="w")
    found, expected = written(model, tmp_path / "m.onnx"), ir.to_proto(model)
    for proto in (found, expected):
        del proto.graph.value_info[:]  # a weight needs none
    assert found == expected


def test_four_bits_and_words(tmp_path: Path) -> None:
    words = ir.from_proto(model_with(onnx.helper.make_tensor("w", onnx.TensorProto.STRING, [300], ["word"] * 300)))
    packed = ir.from_proto(
        model_with(onnx.helper.make_tensor("w", onnx.TensorProto.INT4, [4001], [1, -8] * 2000 + [3]))
    )
    array = packed.graph.initializers["w"].const_value.numpy()
    packed.graph.initializers["w"].const_value = onnx_ir.Tensor(array, ir.DataType.INT4, name="w")
    for model in (words, packed):
        assert written(model, tmp_path / "m.onnx").graph.initializer == ir.to_proto(model).graph.initializer


@pytest.mark.parametrize("size", [1, 127, 128, 16_383, 16_384, (1 << 31) - 1, 1 << 40])
def test_lengths(size: int) -> None:
    from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[import-untyped, attr-defined]

    assert wire.varint(size) == _VarintBytes(size)
