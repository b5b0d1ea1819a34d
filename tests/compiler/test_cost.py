"""MACs, FLOPs and parameters: by hand for each formula, and by the published figures of known networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import support
from onnx import numpy_helper

from effc.compiler import ir
from effc.compiler.cost import Costs, costs
from effc.compiler.formulas import FORMULAS, FREE
from effc.compiler.pipeline import prepare
from effc.compiler.sized import sized, symbols

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def counted(inputs: str, body: str, opset: int = 21) -> Costs:
    """The cost of nodes over inputs such as `float[2,3] x`; `y` is the output."""
    text = f'<ir_version: 10, opset_import: ["": {opset}]> g ({inputs}) => (float y) {{ {body} }}'
    proto = onnx.parser.parse_model(text)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return costs(ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)))


FORMULA_CASES = [
    ("conv", "float[1,4,5,5] x, float[6,4,3,3] w", "y = Conv(x, w)", 3 * 3 * 6 * 4 * 9, 0),
    ("conv_bias", "float[1,4,5,5] x, float[6,4,3,3] w, float[6] b", "y = Conv(x, w, b)", 3 * 3 * 6 * 4 * 9, 54),
    ("conv_padded", "float[1,1,4,4] x, float[1,1,3,3] w", "y = Conv<pads=[1,1,1,1]>(x, w)", 16 * 9, 0),
    ("conv_strided", "float[2,1,4,4] x, float[1,1,2,2] w", "y = Conv<strides=[2,2]>(x, w)", 2 * 4 * 4, 0),
    ("conv_depthwise", "float[1,8,5,5] x, float[8,1,3,3] w", "y = Conv<group=8>(x, w)", 9 * 8 * 9, 0),
    ("conv_1d", "float[1,4,9] x, float[6,4,3] w", "y = Conv(x, w)", 7 * 6 * 12, 0),
    ("conv_transpose", "float[1,4,3,3] x, float[4,2,3,3] w", "y = ConvTranspose<strides=[2,2]>(x, w)", 9 * 4 * 18, 0),
    ("gemm", "float[2,3] x, float[3,5] w", "y = Gemm(x, w)", 30, 0),
    ("gemm_both", "float[3,2] x, float[5,3] w, float[5] b", "y = Gemm<transA=1, transB=1>(x, w, b)", 30, 10),
    ("matmul", "float[7,2,3] x, float[3,5] w", "y = MatMul(x, w)", 7 * 30, 0),
    ("matmul_batched", "float[7,1,2,3] x, float[4,3,5] w", "y = MatMul(x, w)", 7 * 4 * 30, 0),
    ("matmul_vector", "float[3] x, float[3,5] w", "y = MatMul(x, w)", 15, 0),
    ("einsum_product", "float[2,3] x, float[3,5] w", 'y = Einsum<equation="ij,jk->ik">(x, w)', 30, 0),
    ("einsum_implicit", "float[2,3] x, float[3,5] w", 'y = Einsum<equation="ij,jk">(x, w)', 30, 0),
    ("einsum_batched", "float[7,2,3] x, float[7,3,5] w", 'y = Einsum<equation="...ij,...jk->...ik">(x, w)', 210, 0),
    ("einsum_outer", "float[2] x, float[3] w", 'y = Einsum<equation="i,j->ij">(x, w)', 0, 6),
    ("einsum_transposed", "float[2,3] x", 'y = Einsum<equation="ij->ji">(x)', 0, 0),
    ("einsum_sum", "float[2,3] x", 'y = Einsum<equation="ij->i">(x)', 0, 6),
    ("einsum_dot", "float[1,3] x, float[1,3] w", 'y = Einsum<equation="ij,ij->">(x, w)', 3, 0),
    (
        "lstm",
        "float[5,2,3] x, float[1,16,3] w, float[1,16,4] r",
        "a, y = LSTM<hidden_size=4>(x, w, r)",
        5 * 2 * 4 * 4 * (3 + 4),
        0,
    ),
    (
        "gru_both_ways",
        "float[5,2,3] x, float[2,12,3] w, float[2,12,4] r",
        'a, y = GRU<hidden_size=4, direction="bidirectional">(x, w, r)',
        5 * 2 * 2 * 3 * 4 * (3 + 4),
        0,
    ),
    ("add", "float[2,1,5] x, float[3,1] z", "y = Add(x, z)", 0, 30),
    ("sigmoid", "float[2,3] x", "y = Sigmoid(x)", 0, 6),
    ("sum", "float[2,3] x", "y = Sum(x, x, x)", 0, 12),
    ("softmax", "float[2,3] x", "y = Softmax(x)", 0, 30),
    ("max_pool", "float[1,2,4,4] x", "y = MaxPool<kernel_shape=[2,2]>(x)", 0, 2 * 9 * 4),
    ("global_average", "float[1,2,4,4] x", "y = GlobalAveragePool(x)", 0, 32),
    ("reduce", "float[2,3] x", "y = ReduceSum<keepdims=0>(x)", 0, 6),
    ("transpose", "float[2,3] x", "y = Transpose(x)", 0, 0),
    ("concat", "float[2,3] x", "y = Concat<axis=0>(x, x)", 0, 0),
]


@pytest.mark.parametrize(("inputs", "body", "macs", "flops"), [c[1:] for c in FORMULA_CASES], ids=lambda v: None)
def test_formula(inputs: str, body: str, macs: int, flops: int) -> None:
    found = counted(inputs, body)
    assert (found.macs, found.flops) == (macs, 2 * macs + flops)
    assert not any(row.uncounted for row in found.ops)


def test_attention_counts_scores_and_their_use() -> None:
    found = counted("float[2,4,3,8] q, float[2,4,5,8] k, float[2,4,5,6] v", "y = Attention(q, k, v)", 23)
    assert found.macs == 2 * 4 * 3 * 5 * (8 + 6)
    packed = "y = Attention<q_num_heads=4, kv_num_heads=4>(q, k, v)"
    assert counted("float[2,3,32] q, float[2,5,32] k, float[2,5,24] v", packed, 23).macs == found.macs


LOOP = """
n = Constant<value = int64 {7}>() c = Constant<value = bool {1}>()
y = Loop<body = b (int64 i, bool k, float[2,3] s) => (bool k2, float[2,3] t) { k2 = Identity(k) t = Relu(s) }>(n, c, x)
"""
BRANCHES = """
y = If<
    then_branch = t () => (float[2,5] a) { a = MatMul(x, w) }, else_branch = e () => (float[2,5] b) { b = Relu(z) }
>(c)
"""


def test_a_loop_counts_its_body_each_turn() -> None:
    assert counted("float[2,3] x", LOOP).flops == 7 * 6


def test_of_branches_the_dearest_counts() -> None:
    found = counted("bool c, float[2,3] x, float[3,5] w, float[2,5] z", BRANCHES)
    assert (found.macs, found.flops) == (30, 60)


def test_what_cannot_be_counted_is_said() -> None:
    found = counted("float[2,N] x", "y = Relu(x)")
    assert [(row.op, row.uncounted) for row in found.ops] == [("Relu", 1)]
    assert not FREE & set(FORMULAS)


def test_parameters_are_counted_once() -> None:
    text = """<ir_version: 10, opset_import: ["": 21]> g (float[2,3] x) => (float[2,3] y)
        <float[3,3] w = {1,2,3,4,5,6,7,8,9}, int64[2] shape = {2, 3}>
        { a = MatMul(x, w) b = MatMul(a, w) y = Reshape(b, shape) }"""
    found = costs(ir.from_proto(onnx.parser.parse_model(text)))
    assert (found.parameters, found.parameter_bytes) == (9, 36)
    assert sum(row.parameters for row in found.ops) == 9


def whole(path: Path) -> Costs:
    """The cost of a simplified file, for one sample."""
    model = prepare(path, proof=False).model
    return costs(sized(model, dict.fromkeys(symbols(model), 1)))


def told_apart(name: str, folder: Path) -> Path:
    """A light network whose weights, all alike there, have a value each, so that none is shared."""
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    for number, node in enumerate(node for node in model.graph.node if node.op_type == "ConstantOfShape"):
        node.attribute[0].t.CopyFrom(numpy_helper.from_array(np.array([1 + number / 1024], np.float32)))
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    return path


PUBLISHED = [
    ("resnet50", 4.09e9, 25.56e6),
    ("vgg19", 19.63e9, 143.67e6),
    ("squeezenet", 0.349e9, 1.235e6),
    ("bvlc_alexnet", 0.655e9, 60.97e6),
]
"""MACs at 224 x 224 and parameters, as torchvision and Caffe's model zoo state them."""


@pytest.mark.parametrize(("name", "macs", "parameters"), PUBLISHED, ids=[name for name, *_ in PUBLISHED])
def test_published_figures(name: str, macs: float, parameters: float, tmp_path: Path) -> None:
    found = whole(told_apart(name, tmp_path))
    assert found.macs == pytest.approx(macs, rel=0.005)
    assert found.parameters == pytest.approx(parameters, rel=0.005)


@pytest.mark.parametrize("name", sorted(support.CLASSIFIERS))
def test_fixtures_by_another_count(name: str) -> None:
    """Convolutions and products of the file as exported, from the shapes that onnx infers, with the batch at 1."""
    path = support.FIXTURES / f"{name}.onnx"
    proto = onnx.load(path)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(proto).graph
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.value_info, *graph.output)}
    macs = sum(
        int(np.prod([1, *shapes[node.output[0]][1:]])) * int(np.prod(weights[node.input[1]][1:]))
        for node in graph.node
        if node.op_type in ("Conv", "Gemm")
    )
    assert whole(path).macs == macs > 1e6


ZOO = [("mobilenet_v2", 300.8e6, 3.505e6), ("efficientnet_lite0", 385e6, 4.65e6)]
"""MACs at 224 x 224 and parameters, as the models' authors state them."""


@pytest.mark.parametrize(("name", "macs", "parameters"), ZOO, ids=[name for name, *_ in ZOO])
def test_published_figures_of_the_zoo(name: str, macs: float, parameters: float, zoo_folder: Path) -> None:
    found = whole(zoo_folder / "models" / f"{name}.onnx")
    assert found.macs == pytest.approx(macs, rel=0.005)
    assert found.parameters == pytest.approx(parameters, rel=0.006)
