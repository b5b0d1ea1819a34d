"""`--shape` reaches the float side too: a declared size that the original keeps is overridden there as well."""

# ruff: noqa: E501

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

from effc.build import build
from effc.core.options import BuildOptions, DataOptions
from effc.core.target import parse_targets
from effc.verbs.verify import VerifyOptions, verify


def test_an_overridden_size_is_built_and_verified(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[1,3,8,8] x) => (float[1,4,8,8] y) { y = Conv<pads = [1,1,1,1]>(x, w) }'
    model = onnx.parser.parse_model(text)
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    path, data, wide = tmp_path / "m.onnx", tmp_path / "d.npz", (1, 3, 16, 12)
    onnx.save(model, path)
    np.savez(data, x=np.random.default_rng(1).normal(size=(3, *wide[1:])).astype(np.float32))
    targets = parse_targets("tflite-fp32,ort-fp32")
    report = build(BuildOptions(path, targets, tmp_path / "out", shapes={"x": wide}))
    assert report.exit_code == 0
    for target in report.targets:
        found = verify(VerifyOptions(target.artifact, DataOptions(str(data)), path)).verification
        assert found.samples == 3
        assert (found.outputs[0].sqnr_db or 200) > 90
