"""Models at the internal opset, written at older ones, compute the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnx.parser
import pytest

from effc.compiler import downgrade, ir, oracle
from effc.compiler.apart import Apart
from effc.compiler.metrics import sqnr_db
from effc.compiler.settle import settle
from effc.core.errors import EffcError

HEAD = '<ir_version: 10, opset_import: ["" : 21]>'
AXES = "<int64[1] axes = {1}>"
BODIES = {
    "squeeze": f"g (float[2,1,3] x) => (float[2,3] y) {AXES} {{ y = Squeeze(x, axes) }}",
    "unsqueeze": f"g (float[2,3] x) => (float[2,1,3] y) {AXES} {{ y = Unsqueeze(x, axes) }}",
    "reduce": f"g (float[2,4,3] x) => (float[2,3] y) {AXES} "
    "{ m = ReduceMean(x, axes) s = ReduceSumSquare<keepdims = 0>(x, axes) n = ReduceL2<keepdims = 0>(m, axes) "
    "y = Add(n, s) }",
    "reduce all": "g (float[2,4,3] x) => (float y) { y = ReduceMax<keepdims = 0>(x) }",
    "split": "g (float[2,5] x) => (float[2,3] y, float[2,2] z) <int64[2] parts = {3,2}> "
    "{ y, z = Split<axis = 1>(x, parts) }",
    "split evenly": "g (float[2,4] x) => (float[2,2] y, float[2,2] z) { y, z = Split<axis = 1, num_outputs = 2>(x) }",
    "pad": "g (float[2,3] x) => (float[3,5] y) <int64[4] p = {0,1,1,1}, float v = {2.5}> { y = Pad(x, p, v) }",
    "clip": "g (float[2,3] x) => (float[2,3] y) <float lo = {-0.5}, float hi = {0.7}> "
    "{ a = Clip(x, lo) y = Clip(a, , hi) }",
    "slice": "g (float[4,5] x) => (float[2,5] y) "
    "<int64[1] b = {1}, int64[1] e = {3}, int64[1] a = {0}, int64[1] s = {1}> "
    "{ y = Slice(x, b, e, a, s) }",
    "top": "g (float[2,5] x) => (float[2,2] y, int64[2,2] z) <int64[1] k = {2}> { y, z = TopK(x, k) }",
    "pool": "g (float[1,2,6,6] x) => (float[1,2,3,3] y) "
    "{ y = MaxPool<kernel_shape = [2,2], strides = [2,2], dilations = [1,1], ceil_mode = 0>(x) }",
    "resize": "g (float[1,2,3,3] x) => (float[1,2,6,6] y) <float[4] s = {1.0,1.0,2.0,2.0}> "
    '{ y = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(x, , s) }',
    "softmax": "g (float[2,3] x) => (float[2,3] y) { y = Softmax<axis = -1>(x) }",
    "branch": "g (float[2,1,3] x, bool c) => (float[2,3] y) <int64[1] axes = {1}> { y = If(c) "
    "<then_branch = t () => (float[2,3] p) { p = Squeeze(x, axes) }, "
    "else_branch = e () => (float[2,3] q) { q = ReduceMean<keepdims = 0>(x, axes) }> }",
}
LOWEST = {"slice": 10, "resize": 11, "top": 10}
"""Where an op, or what it computes, is younger than the oldest opset of the table."""


OPSETS = (20, 17, 13, 12, 11, 10, 9)


@pytest.mark.parametrize(("name", "opset"), [(n, o) for n in BODIES for o in OPSETS if o >= LOWEST.get(n, 0)])
def test_outputs_are_kept(name: str, opset: int, child: Apart) -> None:
    proto = onnx.parser.parse_model(f"{HEAD}\n{BODIES[name]}")
    model = ir.from_proto(proto)
    settle(model, where="test")
    lower = downgrade.lowered(model, opset, child)
    assert lower.opset_imports[""] == opset
    feeds = oracle.seeded_feeds(proto, 0)
    before, after = oracle.Session(proto).run(feeds), oracle.Session(lower).run(feeds)
    assert before.keys() == after.keys()
    for key, array in before.items():
        assert np.array_equal(array, after[key]) if array.dtype.kind != "f" else sqnr_db(array, after[key]) > 120


def test_weights_are_handed_on_and_not_copied(child: Apart) -> None:
    proto = onnx.parser.parse_model(f"{HEAD}\ng (float[2,64] x) => (float[2,64] y) {{ y = MatMul(x, w) }}")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((64, 64), np.float32), "w"))
    model = ir.from_proto(proto)
    settle(model, where="test")
    lower = downgrade.lowered(model, 11, child)
    assert lower.graph.initializers["w"].const_value is model.graph.initializers["w"].const_value


def test_what_has_no_older_form_is_refused(child: Apart) -> None:
    proto = onnx.parser.parse_model(f"{HEAD}\ng (float[2,3] x) => (float[2,3] y) {{ y = Gelu(x) }}")
    model = ir.from_proto(proto)
    settle(model, where="test")
    with pytest.raises(EffcError, match="opset 13"):
        downgrade.lowered(model, 13, child)


@pytest.fixture(scope="module")
def child() -> Iterator[Apart]:
    with Apart() as libraries:
        yield libraries
