"""`effc simplify`: what it writes, reports and refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from cli_support import Built, Command

from effc.compiler.oracle import evaluate


def test_what_is_written(built: Built, tmp_path: Path, effc: Command) -> None:
    out = tmp_path / "s.onnx"
    ran = effc("simplify", built.model.model, out, "--json")
    assert ran.code == 0
    before, after = onnx.load(built.model.model), onnx.load(out)
    counted = [node for node in before.graph.node if node.op_type != "Constant"]
    assert sum(ran.json["before"].values()) == len(counted) < len(before.graph.node)
    assert sum(ran.json["after"].values()) == len(after.graph.node)
    assert ran.json["switched_off"] == []
    assert ran.json["bytes_before"] == built.model.model.stat().st_size
    assert ran.json["bytes_after"] == out.stat().st_size <= 1.01 * ran.json["bytes_before"]
    assert after.opset_import[0].version == before.opset_import[0].version == ran.json["opset"]
    feeds = [{"input": built.model.load()[0][:8]}]
    a, b = (evaluate(path, feeds)[0]["logits"] for path in (built.model.model, out))
    np.testing.assert_allclose(a, b, atol=1e-4)
    assert effc("simplify", built.model.model, out).code == 2
    assert effc("simplify", built.model.model, out, "--overwrite", "--no-proof").code == 0


def test_what_the_wanted_opset_has_is_fused(tmp_path: Path, effc: Command) -> None:
    """x * Sigmoid(x) is an op from opset 24 on."""
    source, out = tmp_path / "in.onnx", tmp_path / "out.onnx"
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,3] x) => (float[N,3] y) { s = Sigmoid(x) y = Mul(x, s) }'
    )
    onnx.save(onnx.parser.parse_model(text), source)
    for opset, ops in (("17", {"Mul": 1, "Sigmoid": 1}), ("24", {"Swish": 1})):
        ran = effc("simplify", source, out, "--opset", opset, "--max-growth", "any", "--overwrite", "--json")
        assert ran.json["after"] == ops
        assert ran.json["opset"] == onnx.load(out).opset_import[0].version == int(opset)


REFUSED = [
    ("--opset", "99"),
    ("--opset", "0"),
    ("--opset", "5"),
    ("--max-growth", "-1%"),
    ("--max-growth", "much"),
    ("--outputs", ""),
    ("--outputs", ","),
]


@pytest.mark.parametrize("flags", REFUSED)
def test_refused(flags: tuple[str, str], built: Built, tmp_path: Path, effc: Command) -> None:
    assert effc("simplify", built.model.model, tmp_path / "s.onnx", *flags).code == 2
    assert not (tmp_path / "s.onnx").exists()
