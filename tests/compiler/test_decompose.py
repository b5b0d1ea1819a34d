"""Rules that write one node as several, tried alone: equal outputs, and what they do not take they leave as it is."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest

from effc.compiler import ir, oracle
from effc.compiler.decompose.linear import gemm_form

W = np.arange(12, dtype=np.float32).reshape(3, 4)
GEMMS = [
    ("Gemm(x, w, b)", None),
    ("Gemm<alpha=2.0>(x, w)", ["Gemm"]),
    ("Gemm<alpha=2.0, beta=0.5>(x, w, b)", ["Gemm"]),
    ("Gemm<alpha=2.0, transB=1>(x, v)", ["Gemm"]),
    ("Gemm<transA=1>(t, w, b)", ["Transpose", "Gemm"]),
    ("Gemm<transA=1>(t, w, z)", None),
    ("Gemm<alpha=2.0>(x, u)", None),
]


@pytest.mark.parametrize(("call", "after"), GEMMS)
def test_gemm_form(call: str, after: list[str] | None) -> None:
    """A bias or a weight that is computed leaves the node, and no trace of a try."""
    head = "(float[2,3] x, float[3,2] t, float[2,4] z, float[3,4] u) => (float[2,4] y)"
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> g {head} {{ y = {call} }}')
    constants = {"w": W, "v": W.T.copy(), "b": W[0]}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in constants.items())
    model = ir.from_proto(proto)
    before = ir.to_bytes(model)
    assert gemm_form(model.graph[0]) is (after is not None)
    if after is None:
        assert ir.to_bytes(model) == before
        return
    assert [node.op_type for node in model.graph] == after
    assert {"alpha", "beta", "transA"}.isdisjoint(model.graph[-1].attributes)
    feeds = oracle.seeded_feeds(proto, 1)
    np.testing.assert_allclose(
        oracle.Session(model).run(feeds)["y"], oracle.Session(proto).run(feeds)["y"], rtol=1e-5, atol=1e-5
    )
