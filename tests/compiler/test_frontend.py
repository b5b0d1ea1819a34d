"""Files that load, and files that are refused with their name, the node's or the tensor's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper

from effc.compiler import frontend, ir, oracle
from effc.compiler.metrics import sqnr_db
from effc.core.errors import BadInput, EffcError

FIXTURE = Path(__file__).parents[1] / "fixtures" / "mnist_minimobile.onnx"


def text_model(text: str, opset: int = 21, ir_version: int = 10) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: {ir_version}, opset_import: ["" : {opset}]>\n{text}')


def conv_model(opset: int = 21, ir_version: int = 10) -> onnx.ModelProto:
    """Conv (large weight), Relu, Flatten, with a weight that is also listed as an input in old IR versions."""
    model = text_model(
        "g (float[N,3,6,6] x) => (float[N,256] y) { c = Conv<strides=[2,2]>(x, w) r = Relu(c) y = Flatten(r) }",
        opset,
        ir_version,
    )
    weight = np.random.default_rng(0).standard_normal((64, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    if ir_version < 4:
        model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, weight.shape))
    return model


def saved(model: onnx.ModelProto | bytes, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path


def assert_same(path: Path, loaded: frontend.Loaded) -> None:
    feeds = oracle.seeded_feeds(path, 0)
    before, after = oracle.Session(path).run(feeds), oracle.Session(loaded.model).run(feeds)
    assert list(before) == list(after)
    assert all(sqnr_db(before[name], after[name]) > 120 for name in before)


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 16, 18, 20, 21, 23])
def test_every_opset_becomes_the_internal_one(opset: int, tmp_path: Path) -> None:
    path = saved(conv_model(opset), tmp_path)
    loaded = frontend.load(path)
    assert loaded.model.opset_imports[""] == ir.INTERNAL_OPSET
    assert loaded.source.opset == opset
    assert_same(path, loaded)


def test_ops_whose_attributes_became_inputs(tmp_path: Path) -> None:
    text = (
        "g (float[2,4,1] x) => (float[2,3] y)"
        " { c = Clip<min=-1.0,max=1.0>(x) s = Slice<axes=[1],starts=[0],ends=[3]>(c) y = Squeeze<axes=[2]>(s) }"
    )
    path = saved(text_model(text, 9, 4), tmp_path)
    assert_same(path, frontend.load(path))


def test_an_op_newer_than_the_internal_opset_is_written_by_older_ones(tmp_path: Path) -> None:
    path = saved(text_model("g (float[N,4] x) => (float[N,4] y) { y = Swish(x) }", 24, 11), tmp_path)
    loaded = frontend.load(path)
    assert "Swish" not in {node.op_type for node in loaded.model.graph}
    assert_same(path, loaded)


def test_an_input_without_a_shape(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    path = saved(model, tmp_path)
    with pytest.raises(BadInput, match=r"input 'x': the model does not say its shape\n.*--shape x:"):
        frontend.load(path)
    assert [v.shape for v in frontend.load(path, {"x": (2, 3, 6, 6)}).model.graph.outputs] == [(2, 256)]


def test_weights_listed_as_inputs_are_no_inputs(tmp_path: Path) -> None:
    model = conv_model(9, 3)
    model.graph.node[2].input.append("shape")
    model.graph.node[2].op_type = "Reshape"
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 256]), "shape"))
    model.graph.input.append(helper.make_tensor_value_info("shape", TensorProto.INT64, [2]))
    path = saved(model, tmp_path)
    loaded = frontend.load(path)
    assert [v.name for v in loaded.model.graph.inputs] == ["x"]
    assert_same(path, loaded)


FUNCTIONS = """<ir_version: 10, opset_import: ["" : 21, "own" : 1]>
g (float[N,4] x) => (float[N,4] y) { y = own.twice(x) }
<domain: "own", opset_import: ["" : 21, "own" : 1]> twice (a) => (b) { c = own.once(a) b = own.once(c) }
<domain: "own", opset_import: ["" : 21]> once (a) => (b) { b = Sin(a) }"""


def test_functions_are_inlined(tmp_path: Path) -> None:
    path = saved(onnx.parser.parse_model(FUNCTIONS), tmp_path)
    loaded = frontend.load(path)
    assert [node.op_type for node in loaded.model.graph] == ["Sin", "Sin"]
    assert_same(path, loaded)


def test_nodes_out_of_order_are_sorted(tmp_path: Path) -> None:
    model = conv_model()
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    loaded = frontend.load(saved(model, tmp_path))
    assert [node.op_type for node in loaded.model.graph] == ["Conv", "Relu", "Flatten"]


def test_nodes_get_names_of_their_own(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.node[0].name = model.graph.node[1].name = "same"
    names = [node.name for node in frontend.load(saved(model, tmp_path)).model.graph]
    assert len(set(names)) == len(names)
    assert names[0] == "same"


def external(folder: Path, location: str = "weights.bin") -> Path:
    path = folder / "model.onnx"
    model = conv_model()
    (weight,) = model.graph.initializer
    (folder / "weights.bin").write_bytes(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    return saved(model, path.parent)


def test_external_data_is_read_and_hashed(tmp_path: Path) -> None:
    path = external(tmp_path)
    loaded = frontend.load(path)
    content = path.read_bytes() + (tmp_path / "weights.bin").read_bytes()
    assert loaded.source.sha256 == hashlib.sha256(content).hexdigest()
    assert_same(path, loaded)


# shapes


def shape_of(model: ir.Model, output: bool = False) -> tuple[int | str, ...] | None:
    return ir.shape(model.graph.outputs[0] if output else model.graph.inputs[0])


def test_symbols_are_kept(tmp_path: Path) -> None:
    model = frontend.load(saved(conv_model(), tmp_path)).model
    assert shape_of(model) == ("N", 3, 6, 6)
    assert shape_of(model, output=True) == ("N", 256)


@pytest.mark.parametrize("dim", [{"dim_value": -1}, {"dim_param": "?"}, {}])
def test_open_dims_become_symbols(dim: dict[str, int | str], tmp_path: Path) -> None:
    model = conv_model()
    model.graph.input[0].type.tensor_type.shape.dim[0].CopyFrom(onnx.TensorShapeProto.Dimension(**dim))
    assert shape_of(frontend.load(saved(model, tmp_path)).model) == ("x_0", 3, 6, 6)


def test_a_shape_fixes_a_symbol(tmp_path: Path) -> None:
    model = frontend.load(saved(conv_model(), tmp_path), {"x": (5, 3, 6, 6)}).model
    assert shape_of(model, output=True) == (5, 256)


def test_a_shape_overrides_a_number(tmp_path: Path) -> None:
    text = "g (float[1,2,4,4] x) => (float[1,2,2,2] y) { y = MaxPool<kernel_shape=[2,2],strides=[2,2]>(x) }"
    model = frontend.load(saved(text_model(text), tmp_path), {"x": ("B", 2, 8, 8)}).model
    assert shape_of(model, output=True) == ("B", 2, 4, 4)


def test_a_slice_of_an_open_dim_stays_open(tmp_path: Path) -> None:
    """x[:1000000000] of N rows has no 1000000000 rows."""
    text = (
        "g (float[N,4] x) => (float[M,4] y) <int64[1] s = {0}, int64[1] e = {1000000000}>"
        " { a = Slice(x, s, e, s) y = Relu(a) }"
    )
    assert shape_of(frontend.load(saved(text_model(text), tmp_path)).model, output=True) == ("M", 4)


# what is refused


def edited(change: Callable[[onnx.ModelProto], object]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        model = conv_model()
        for index, node in enumerate(model.graph.node):
            node.name = f"node_{index}"
        change(model)
        return saved(model, folder)

    return make


def raw(data: bytes) -> Callable[[Path], Path]:
    return lambda folder: saved(data, folder)


def linked(folder: Path) -> Path:
    inner = folder / "inner"
    inner.mkdir()
    path = external(inner)
    (inner / "weights.bin").rename(folder / "weights.bin")
    (inner / "weights.bin").symlink_to(folder / "weights.bin")
    return path


def short_data(folder: Path) -> Path:
    path = external(folder)
    (folder / "weights.bin").write_bytes(b"too short")
    return path


def recursive(folder: Path) -> Path:
    return saved(onnx.parser.parse_model(FUNCTIONS.replace("{ b = Sin(a) }", "{ b = own.twice(a) }").replace(
        'opset_import: ["" : 21]> once', 'opset_import: ["" : 21, "own" : 1]> once'
    )), folder)  # fmt: skip


def declared_wrong(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 255


def contradiction(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4


def huge(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 40, 3, 3]


def huge_weight_without_data(model: onnx.ModelProto) -> None:
    huge(model)
    model.graph.initializer[0].ClearField("raw_data")


BAD = [
    ("no file", lambda folder: folder / "absent.onnx", "absent.onnx"),
    ("a folder", lambda folder: folder, "directory"),
    ("empty", raw(b""), "not an ONNX model"),
    ("text", raw(b"hello, world\n" * 100), "not an ONNX model"),
    ("another protobuf", raw(helper.make_tensor("t", 1, [1], [1.0]).SerializeToString()), "model.onnx"),
    ("truncated", raw(conv_model().SerializeToString()[:3000]), "not an ONNX model"),
    ("cycle", edited(lambda m: m.graph.node[0].input.__setitem__(0, "r")), "Conv 'node_0' -> "),
    ("undefined tensor", edited(lambda m: m.graph.node[1].input.__setitem__(0, "gone")), "'gone'"),
    ("undefined output", edited(lambda m: m.graph.node.pop()), "'y'"),
    ("produced twice", edited(lambda m: m.graph.node[1].output.__setitem__(0, "c")), "node_1"),
    ("unknown op", edited(lambda m: setattr(m.graph.node[1], "op_type", "Rely")), "Rely"),
    ("unknown attribute", edited(lambda m: m.graph.node[1].attribute.append(helper.make_attribute("k", 1))), "node_1"),
    ("future opset", edited(lambda m: setattr(m.opset_import[0], "version", 999)), "999"),
    ("huge weight", edited(huge), "tensor 'w'"),
    ("huge weight, no data", edited(huge_weight_without_data), "tensor 'w'"),
    ("unknown element type", edited(lambda m: setattr(m.graph.initializer[0], "data_type", 77)), "tensor 'w'"),
    ("contradicting input", edited(contradiction), "node_0"),
    ("contradicting output", edited(declared_wrong), "output 'y'"),
    ("data missing", lambda folder: external(folder, "gone.bin"), "gone.bin"),
    ("data above", lambda folder: external(folder, "../weights.bin"), "tensor 'w'"),
    ("data absolute", lambda folder: external(folder, "/etc/passwd"), "/etc/passwd"),
    ("data behind a link", linked, "tensor 'w'"),
    ("data short", short_data, "tensor 'w'"),
    ("recursive functions", recursive, "own.once"),
]


@pytest.mark.parametrize(("make", "text"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_files(make: Callable[[Path], Path], text: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(BadInput) as caught:
        frontend.load(path)
    assert str(path) in str(caught.value)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        ({"z": (1, 3, 6, 6)}, "no such input"),
        ({"x": (1, 3, 6)}, "3 dims"),
        ({"x": (1, 3, -6, 6)}, "positive"),
        ({"x": (1, 3, 6, "a b")}, "positive"),
        ({"x": (1, 4, 6, 6)}, "Conv_c"),
    ],
)
def test_bad_shapes(shapes: dict[str, tuple[int | str, ...]], text: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"model\.onnx") as caught:
        frontend.load(saved(conv_model(), tmp_path), shapes)
    assert text in str(caught.value)


# settle


def test_settle_names_the_step() -> None:
    model = ir.from_proto(conv_model())
    next(iter(model.graph)).op_type = "Nonsense"
    with pytest.raises(EffcError, match=r"phase/step: .*Nonsense"):
        frontend.settle(model, where="phase/step")


def test_settle_sorts_names_and_infers() -> None:
    model = ir.from_proto(conv_model())
    conv, relu, flatten = model.graph
    relu.outputs[0].name, relu.name = "c", ""
    model.graph.remove(conv)
    model.graph.append(conv)
    frontend.settle(model, where="test")
    assert [node.op_type for node in model.graph] == ["Conv", "Relu", "Flatten"]
    assert len({v.name for v in ir.values(model.graph)}) == len(list(ir.values(model.graph)))
    assert ir.shape(flatten.inputs[0]) == ("N", 64, 2, 2)
