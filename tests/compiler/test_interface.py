"""What a file says besides its nodes: names of dims, metadata, IR version, defaults of functions, sparse tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper

from effc.compiler import frontend, ir, oracle, pipeline, sparse
from effc.core.errors import BadInput

Array = np.ndarray


def simplified(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    onnx.save(model, folder / "model.onnx")
    return ir.to_proto(pipeline.prepare(folder / "model.onnx", goal=pipeline.Goal()).model)


def parsed(text: str, opset: int = 17, ir_version: int = 8) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: {ir_version}, opset_import: ["" : {opset}]>\ng {text}')


def inputs_of(model: onnx.ModelProto) -> list[list[str]]:
    return [[dim.dim_param for dim in value.type.tensor_type.shape.dim] for value in model.graph.input]


def outputs(model: onnx.ModelProto, feeds: dict[str, Array]) -> list[Array]:
    return list(oracle.Session(model).run(feeds).values())


@pytest.mark.parametrize(
    ("names", "dims", "written"),
    [
        (("x", "z"), ("a+b", "a-b"), ("a+b", "a-b")),
        (("x", "z"), ("a b", "a.b"), ("a b", "a.b")),
        (("x", "z"), ("past + 1", "past"), ("past + 1", "past")),
        (("x", "z"), ("", "x_0"), ("x_0_1", "x_0")),
        (("a:0", "a/0"), ("", "?"), ("_a_0_0", "_a_0_0_1")),
        (("x", "z"), ("N", "N"), ("N", "N")),
    ],
)
def test_dims_are_the_same_only_where_their_names_are(
    names: tuple[str, str], dims: tuple[str, str], written: tuple[str, str], tmp_path: Path
) -> None:
    """Whether two inputs are of one size is computed, and not taken from names that were made alike."""
    model = parsed(
        "(float[A,4] x, float[B,4] z) => (int64[1] e) "
        "{ s = Shape<start=0, end=1>(x) t = Shape<start=0, end=1>(z) b = Equal(s, t) e = Cast<to=7>(b) }"
    )
    for value, node, name, dim in zip(model.graph.input, model.graph.node, names, dims, strict=False):
        value.name, node.input[0] = name, name
        value.type.tensor_type.shape.dim[0].Clear()
        if dim:
            value.type.tensor_type.shape.dim[0].dim_param = dim
    made = simplified(model, tmp_path)
    assert [dims[0] for dims in inputs_of(made)] == list(written)
    feeds = {name: np.zeros((size, 4), np.float32) for name, size in zip(names, (3, 2), strict=True)}
    expected = dims[0] == dims[1]
    if not expected:
        assert outputs(made, feeds)[0] == outputs(model, feeds)[0] == 0
    assert [node.op_type for node in made.graph.node].count("Shape") == (0 if expected else 2)


@pytest.mark.parametrize(("opset", "ir_version"), [(13, 7), (17, 8), (17, 10), (19, 9), (21, 10), (8, 3)])
def test_metadata_and_ir_version_stay(opset: int, ir_version: int, tmp_path: Path) -> None:
    """Weights that are no inputs need IR version 4."""
    model = parsed("(float[N,4] x) => (float[N,4] y) { a = Identity(x) y = Relu(a) }", opset, ir_version)
    model.producer_name, model.producer_version, model.domain, model.model_version = "maker", "1.2", "org.here", 7
    model.doc_string, model.graph.doc_string = "of the model", "of the graph"
    helper.set_model_props(model, {"names": "{0: 'cat'}", "stride": "32"})
    made = simplified(model, tmp_path)
    assert made.ir_version == max(4, ir_version)
    assert made.opset_import[0].version == opset
    assert made.metadata_props == model.metadata_props
    for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        assert getattr(made, field) == getattr(model, field)
    assert made.graph.doc_string == "of the graph"


@pytest.mark.parametrize("given", ["", "<alpha = 0.25>"])
@pytest.mark.parametrize("within", ["local.leaky", "local.outer"])
def test_defaults_of_functions_hold(given: str, within: str, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[N,4] x) => (float[N,4] y) {{ y = {within} {given} (x) }}
        <opset_import: ["" : 17], domain: "local">
        leaky <alpha: float = 0.5> (x) => (y) {{ y = LeakyRelu <alpha: float = @alpha> (x) }}
        <opset_import: ["" : 17, "local" : 1], domain: "local">
        outer <alpha: float = 0.75> (x) => (y) {{ y = local.leaky <alpha: float = @alpha> (x) }}"""
    )
    made = simplified(model, tmp_path)
    alpha = 0.25 if given else {"local.leaky": 0.5, "local.outer": 0.75}[within]
    x = -np.ones((1, 4), np.float32)
    np.testing.assert_allclose(outputs(made, {"x": x})[0], alpha * x)


SPARSE = [
    ([0, 5, 11], (3,), (3, 4)),
    ([[0, 0], [1, 1], [2, 3]], (3, 2), (3, 4)),
    ([], (0,), (3, 4)),
]


def sparse_tensor(indices: list[object], rows: tuple[int, ...], dims: tuple[int, ...]) -> onnx.SparseTensorProto:
    values = helper.make_tensor("w", TensorProto.FLOAT, [rows[0]], [1.0, 2.0, 3.0][: rows[0]])
    flat = np.asarray(indices, np.int64).reshape(-1).tolist()
    return helper.make_sparse_tensor(values, helper.make_tensor("i", TensorProto.INT64, rows, flat), dims)


@pytest.mark.parametrize(("indices", "rows", "dims"), SPARSE)
@pytest.mark.parametrize("held", ["constant", "initializer"])
def test_sparse_weights_are_dense_ones(
    indices: list[object], rows: tuple[int, ...], dims: tuple[int, ...], held: str, tmp_path: Path
) -> None:
    expected = np.zeros(dims, np.float32)
    for value, place in zip((1, 2, 3), indices, strict=False):
        expected[np.unravel_index(place, dims) if isinstance(place, int) else tuple(place)] = value  # type: ignore[arg-type]
    model = parsed("(float[N,3] x) => (float[N,4] y) { y = MatMul(x, w) }")
    tensor = sparse_tensor(indices, rows, dims)
    if held == "constant":
        model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], sparse_value=tensor))
    else:
        model.graph.sparse_initializer.append(tensor)
    made = simplified(model, tmp_path)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_allclose(outputs(made, {"x": x})[0], x @ expected)


def test_a_huge_sparse_tensor_is_refused(tmp_path: Path) -> None:
    model = parsed("(float[N,3] x) => (float[N,4] y) { y = MatMul(x, w) }")
    model.graph.sparse_initializer.append(sparse_tensor([0], (1,), (1 << 16, 1 << 16)))
    with pytest.raises(BadInput, match="no such sparse tensor"):
        sparse.densify(model, tmp_path)


def test_dims_of_zero_are_dims(tmp_path: Path) -> None:
    model = parsed("(float[0,4] x, float[N,4] z) => (float[M,4] y) { c = Concat<axis=0>(x, z) y = Relu(c) }")
    made = simplified(model, tmp_path)
    assert made.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")
    z = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(outputs(made, {"x": z[:0], "z": z})[0], z)


def test_integers_wrap_around(tmp_path: Path) -> None:
    """onnx refuses to follow constants that overflow; the model still runs."""
    big = numpy_helper.from_array(np.array([1 << 30, 3], np.int32), "big")
    model = parsed("(int32[2] x) => (int32[2] y) { p = Mul(big, big) y = Add(p, x) }")
    model.graph.initializer.append(big)
    x = np.array([1, 2], np.int32)
    np.testing.assert_array_equal(outputs(simplified(model, tmp_path), {"x": x})[0], np.array([1, 11]))


def test_inputs_that_have_a_value_are_constants(tmp_path: Path) -> None:
    model = parsed("(float[N,4] x, float[4] w) => (float[N,4] y) { y = Add(x, w) }")
    model.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "w"))
    onnx.save(model, tmp_path / "model.onnx")
    assert [v.name for v in frontend.load(tmp_path / "model.onnx").model.graph.inputs] == ["x"]
