"""Which nodes of a graph with Q/DQ share a kernel, and that integers moved and shifted compute the same."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest

from effc.backends.tvm.plan.affine import activation, is_single
from effc.backends.tvm.plan.group import Rules, grouped
from effc.backends.tvm.plan.integers import integers
from effc.compiler import ir, oracle

HEAD = """
<ir_version: 10, opset_import: ["" : 21]>
graph (float[1, 4, 6, 6] x) => ({result})
<float s = {{0.05}}, float t = {{0.1}}, int8 z = {{-3}}, float[4, 4, 1, 1] w = {{{weights}}},
 int64[4] shape = {{1, 4, 4, 9}}, int64[8] pads = {{0, 0, 1, 1, 0, 0, 1, 1}},
 float one = {{1}}, float odd = {{0.512}},
 float[4] by_channel = {{1, 2, 3, 4}}>
{{ {body} }}
"""
WEIGHTS = ", ".join(str((i * 5 % 7 - 3) / 5) for i in range(16))
_ELEMENTWISE = ("Add", "Mul", "Relu", "QuantizeLinear", "DequantizeLinear")
X = "xq = QuantizeLinear(x, s, z)  xd = DequantizeLinear(xq, s, z)"


def parsed(body: str, result: str = "float[N, C, H, W] y") -> ir.Model:
    text = HEAD.format(body=body, weights=WEIGHTS, result=result)
    return ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text), strict_mode=True))


def is_integer(node: ir.Node) -> bool:
    """As a backend would say whose convolutions read bytes."""
    return node.op_type == "Conv" and activation(node.inputs[0]) is not None


def is_elementwise(node: ir.Node) -> bool:
    return node.op_type in _ELEMENTWISE and (
        node.op_type not in ("QuantizeLinear", "DequantizeLinear") or is_single(node)
    )


GROUPS = {
    "a convolution reads through and rounds": (
        f"{X}  a = Conv(xd, w)  b = Relu(a)  q = QuantizeLinear(b, s, z)  y = DequantizeLinear(q, s, z)",
        ["QuantizeLinear", "DequantizeLinear Conv Relu QuantizeLinear", "DequantizeLinear"],
    ),
    "the residual is read where it is added": (
        f"{X}  a = Conv(xd, w)  b = Add(a, xd)  q = QuantizeLinear(b, s, z)  y = DequantizeLinear(q, s, z)",
        ["QuantizeLinear", "DequantizeLinear Conv DequantizeLinear Add QuantizeLinear", "DequantizeLinear"],
    ),
    "two of one kind": (
        f"{X}  a = Mul(xd, xd)  q = QuantizeLinear(a, s, z)  y = DequantizeLinear(q, s, z)",
        ["QuantizeLinear", "DequantizeLinear Mul QuantizeLinear", "DequantizeLinear"],
    ),
    "what reads floats alone gets floats": (
        f"{X}  y = Softmax(xd)",
        ["QuantizeLinear", "DequantizeLinear", "Softmax"],
    ),
    "both kinds of readers": (
        f"{X}  a = Softmax(xd)  b = Conv(xd, w)  y = Add(a, b)",
        ["QuantizeLinear", "DequantizeLinear", "Softmax", "DequantizeLinear Conv Add"],
    ),
    "scales by channel are no view": (
        f"{X}  a = DequantizeLinear<axis=1>(xq, by_channel)  y = Relu(a)",
        ["QuantizeLinear", "DequantizeLinear Relu"],
    ),
    "rounding is never skipped": (
        "a = Conv(x, w)  q = QuantizeLinear(a, s, z)  d = DequantizeLinear(q, s, z)  y = Relu(d)",
        ["Conv QuantizeLinear", "DequantizeLinear Relu"],
    ),
}


@pytest.mark.parametrize("case", GROUPS)
def test_groups(case: str) -> None:
    body, wanted = GROUPS[case]
    rules = Rules(lambda n: n.op_type in ("Conv", "DequantizeLinear"), is_elementwise, is_integer)
    groups = grouped(parsed(body).graph, rules)
    assert [" ".join(n.op_type for n in g.nodes) for g in groups] == wanted


MOVES = {
    "reshape": ("a = Reshape(xd, shape)", "Reshape"),
    "transpose": ("a = Transpose<perm=[0, 2, 3, 1]>(xd)", "Transpose"),
    "pool": ("a = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(xd)", "MaxPool"),
    "two parts": (
        "r = Relu(xd)  rq = QuantizeLinear(r, s, z)  rd = DequantizeLinear(rq, s, z)  a = Concat<axis=1>(xd, rd)",
        "Concat",
    ),
    "pad with zeros": ("a = Pad(xd, pads)", "Pad"),
}


@pytest.mark.parametrize("unsigned", [True, False])
@pytest.mark.parametrize("case", MOVES)
def test_movers_move_integers(case: str, unsigned: bool) -> None:
    body, op = MOVES[case]
    model = parsed(f"{X}  {body}  q = QuantizeLinear(a, s, z)  y = DequantizeLinear(q, s, z)")
    changed = integers(model, is_integer, unsigned=unsigned)
    mover = next(n for n in changed.graph if n.op_type == op)
    kept = op == "Pad" or not unsigned
    assert mover.outputs[0].dtype == (ir.DataType.INT8 if kept else ir.DataType.UINT8)
    assert sum(n.op_type == "QuantizeLinear" for n in changed.graph) == (2 if op == "Concat" else 1)
    _same(model, changed)


OTHER_SCALES = {
    "another scale": "a = Transpose(xd)  q = QuantizeLinear(a, t, z)  y = DequantizeLinear(q, t, z)",
    "a filling between two steps": "a = Pad(xd, pads, odd)  y = Relu(a)",
    "a filling that is a step": "a = Pad(xd, pads, one)  y = Relu(a)",
    "integers that are an output": "a = Relu(xd)  y = QuantizeLinear(a, s, z)",
}


@pytest.mark.parametrize("case", OTHER_SCALES)
def test_what_differs_stays_apart(case: str) -> None:
    result = "int8[N, C, H, W] y" if "output" in case else "float[N, C, H, W] y"
    model = parsed(f"{X}  {OTHER_SCALES[case]}", result)
    _same(model, integers(model, is_integer, unsigned=True))


def test_constants_are_dequantized_for_readers_of_floats() -> None:
    model = parsed("wq = QuantizeLinear(w, s, z)  y = Conv(x, w)")
    held = ir.initializer(model.graph, "held", np.arange(-8, 8, dtype=np.int8).reshape(4, 4, 1, 1))
    scale, zero = (model.graph.initializers[n] for n in ("s", "z"))
    dequantized = ir.node("DequantizeLinear", [held, scale, zero])
    conv = next(n for n in model.graph if n.op_type == "Conv")
    model.graph.insert_before(conv, dequantized)
    conv.replace_input_with(1, dequantized.outputs[0])
    changed = integers(model, lambda _: False, unsigned=True)
    assert [n.op_type for n in changed.graph] == ["Conv"]
    _same(model, changed)


def _same(model: ir.Model, changed: ir.Model) -> None:
    """Equal to the last bit, in ONNX Runtime without its optimizations."""
    feeds = {"x": np.random.default_rng(3).standard_normal((1, 4, 6, 6)).astype(np.float32) * 4}
    (wanted,), (found,) = oracle.evaluate(model, [feeds]), oracle.evaluate(changed, [feeds])
    assert np.array_equal(wanted["y"], found["y"])
