"""Peak memory: by hand, and against the definition written out for random graphs."""

from __future__ import annotations

import onnx
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effc.compiler import ir
from effc.compiler.footprint import Footprint, footprint
from effc.compiler.settle import settle
from effc.compiler.sized import sized, symbols
from effc.core.errors import EffcError

KB = 1024


def model(inputs: str, outputs: str, body: str) -> ir.Model:
    """A model whose tensors are settled."""
    text = f'<ir_version: 10, opset_import: ["": 21]> g ({inputs}) => ({outputs}) {{ {body} }}'
    made = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))
    settle(made, where="test")
    return made


def found(inputs: str, outputs: str, body: str) -> Footprint:
    """The footprint of a small model."""
    return footprint(model(inputs, outputs, body))


X, Y = "float[256] x", "float[256] y"
CASES = [
    ("one node holds its input and its output", X, Y, "y = Relu(x)", 2),
    ("a chain frees what is read", X, Y, "a = Relu(x) b = Neg(a) y = Abs(b)", 2),
    ("a residual stays until it is added", X, Y, "a = Relu(x) b = Neg(a) y = Add(x, b)", 3),
    ("an output stays to the end", X, f"float[256] a, {Y}", "a = Relu(x) b = Neg(x) y = Abs(b)", 3),
    ("an input that nobody reads is there", f"{X}, float[512] z", Y, "y = Relu(x)", 4),
    ("both readers keep it", X, Y, "a = Relu(x) b = Neg(a) c = Abs(a) y = Add(b, c)", 3),
    ("a view shares its memory", X, "float[2,128] y", "s = Constant<value_ints = [2,128]>() y = Reshape(x, s)", 1),
    (
        "a tensor stays as long as its view",
        X,
        "float[2,128] y",
        "s = Constant<value_ints = [2,128]>() v = Reshape(x, s) a = Relu(x) b = Neg(a) c = Reshape(b, s) y = Add(v, c)",
        3,
    ),
]


@pytest.mark.parametrize(("inputs", "outputs", "body", "kilobytes"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_peak(inputs: str, outputs: str, body: str, kilobytes: int) -> None:
    assert found(inputs, outputs, body).activations == kilobytes * KB


def test_types_count_with_their_size() -> None:
    told = found("float16[256] x", "bool[256] y", "z = Constant<value = float16[1] {0}>() y = Less(x, z)")
    assert (told.activations, told.weights) == (3 * 256, 2)
    assert found("int4[3] x", "int4[3] y", "y = Identity(x)").activations == 2


def test_branches_count_at_their_node() -> None:
    branch = "{ a = Relu(x) b = Neg(a) }"
    body = f"y = If<then_branch = t () => (float[256] b) {branch}, else_branch = e () => (float[256] b) {branch}>(c)"
    assert found(f"bool c, {X}", Y, body).activations == 1 + KB * (1 + 1 + 2)


def test_unknown_sizes_are_said() -> None:
    told = found("float[N] x", "float[N] y", "y = Relu(x)")
    assert (told.activations, told.unsized) == (0, 2)


def test_the_peak_is_at_its_node() -> None:
    told = model(X, "float y", "s = Constant<value_ints = [4]>() a = Tile(x, s) y = ReduceSum<keepdims = 0>(a)")
    assert footprint(told).node == next(node.name for node in told.graph if node.op_type == "Tile")


@st.composite
def bodies(draw: st.DrawFn) -> tuple[list[list[int]], list[int]]:
    """Nodes as lists of the earlier values that they sum (0 is the input), and which values are outputs."""
    count = draw(st.integers(1, 9))
    nodes = [draw(st.lists(st.integers(0, i), min_size=1, max_size=3)) for i in range(count)]
    return nodes, sorted({count, *draw(st.lists(st.integers(1, count), max_size=2))})


@settings(max_examples=40, deadline=None)
@given(bodies())
def test_random_graphs_by_definition(drawn: tuple[list[list[int]], list[int]]) -> None:
    nodes, outputs = drawn
    body = " ".join(f"v{i} = Sum({', '.join(f'v{j}' for j in reads)})" for i, reads in enumerate(nodes, 1))
    told = found("float[256] v0", ", ".join(f"float[256] v{i}" for i in outputs), body)
    last = {i: max([j for j, reads in enumerate(nodes, 1) if i in reads], default=i) for i in range(len(nodes) + 1)}
    last |= dict.fromkeys(outputs, len(nodes) + 1)
    alive = [sum(i <= at <= last[i] for i in last) for at in range(len(nodes) + 1)]
    assert told.activations == max(alive) * KB


def test_sizes_reach_every_tensor() -> None:
    made = model("float[N,3,H,8] x", "float[N,K] y", "a = Flatten(x) b = Concat<axis = 0>(a, a) y = Relu(b)")
    assert symbols(made) == ("N", "H")
    fixed = sized(made, {"N": 2, "H": 5})
    assert ir.shape(fixed.graph.outputs[0]) == (4, 120)
    assert ir.shape(made.graph.inputs[0]) == ("N", 3, "H", 8)
    assert sized(made, {}) is made


def test_sizes_that_cannot_be_are_told() -> None:
    made = model("float[1,3,H,8] x, float[4,3,5,5] w", "float[1,4,K,4] y", "y = Conv(x, w)")
    with pytest.raises(EffcError, match="'y' would be 1x4x-3x4") as raised:
        sized(made, {"H": 1})
    assert "H=1" in raised.value.where
