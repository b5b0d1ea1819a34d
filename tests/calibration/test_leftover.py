"""What is told to stay in float32 before there is data is what stays there in a build."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import support
from graphs import GRAPHS, Graph

from effc import stages
from effc.backends import base
from effc.calibration.leftover import Leftover, leftover
from effc.compiler import ir, phase, upgrade
from effc.compiler.passes import SIMPLIFY
from effc.compiler.pipeline import prepare
from effc.compiler.settle import settle
from effc.core.options import CalibrationOptions, DataOptions
from effc.core.target import Target

SAMPLES = 8
SCHEMES = ("ort-int8", "tflite-int8", "tvm-x86-int8", "rtx-int8", "rtx-fp8")
BY_NAME = {graph.name: graph for graph in GRAPHS}
MIXED = Graph(
    "mixed",
    "c = Conv(x, w) r = Relu(c) p = Sqrt(r) t = Transpose<perm = [0,1,3,2]>(r) m = MatMul(p, t) y = Softmax(m)",
    (("w", (6, 8, 3, 3)),),
)
NAMES = ("conv_valid", "residual", "gemm_scaled", "conv_transpose", "average_pool", "mul_per_channel", "resize_nearest")


def legal(model: ir.Model, name: str) -> stages.Legal:
    """A simplified model in a target's ops, whether or not its library is here."""
    target = Target.parse(name)
    backend, trial = base.for_target(target), model.clone()
    return stages.Legal(target, backend, trial, phase.run(trial, backend.legalize(target)))


def simplified(graph: Graph) -> ir.Model:
    """A small graph as a build would start with it."""
    model = ir.from_bytes(upgrade.upgrade(graph.proto().SerializeToString(), ir.INTERNAL_OPSET))
    settle(model, where=graph.name)
    phase.run(model, SIMPLIFY)
    return model


def told(found: stages.Legal) -> Leftover:
    """The prediction."""
    return leftover(found.model, found.backend.scheme(found.target), found.backend.narrowing(found.target))


def agree(found: stages.Legal, options: CalibrationOptions) -> None:
    """The prediction and a calibrated build name the same nodes."""
    scheme, predicted = found.backend.scheme(found.target), told(found)
    assert scheme is not None
    known = stages.known(found, stages.calibrated(found.model, options))
    made = stages.quantized(found, scheme, known, options, ()).precision
    assert predicted.quantized == sum(kind != "float32" for kind in made.values()) > 0
    assert all(made[caution.node] == "float32" for caution in predicted.cautions)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics are kept in a folder of the test's own."""
    monkeypatch.setenv("EFFC_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("target", SCHEMES)
@pytest.mark.parametrize("name", sorted(support.CLASSIFIERS))
def test_classifiers(name: str, target: str, data_folder: Path) -> None:
    files = support.classifier(name, data_folder)
    data = DataOptions(str(files.calib), limit=SAMPLES)
    agree(legal(prepare(files.model, proof=False).model, target), CalibrationOptions(data, bias_correction=False))


@pytest.mark.parametrize("target", ["ort-int8", "tflite-int8", "rtx-int8"])
@pytest.mark.parametrize("graph", [MIXED, *(BY_NAME[name].behind_a_kernel() for name in NAMES)], ids=lambda g: g.name)
def test_kernels(graph: Graph, target: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "calib.npz", **graph.samples(SAMPLES))
    options = CalibrationOptions(DataOptions(str(tmp_path / "calib.npz")), "minmax", bias_correction=False)
    found = legal(simplified(graph), target)
    if told(found).quantized:
        agree(found, options)
    else:
        with pytest.raises(stages.UnsupportedOps, match="not one of its nodes"):
            agree(found, options)


REASONS = [
    ("ort-int8", {"Sqrt": "no int8 kernel for this op", "MatMul": "its weight is computed", "Softmax": "for this op"}),
    (
        "tflite-int8",
        {"Sqrt": "no int8 kernel for this op", "MatMul": "its weight is computed", "Softmax": "for this op"},
    ),
    ("rtx-int8", {"Sqrt": "no int8 kernel for this op", "MatMul": "its weight is computed", "Softmax": "for this op"}),
]


@pytest.mark.parametrize(("target", "reasons"), REASONS, ids=[target for target, _ in REASONS])
def test_reasons(target: str, reasons: dict[str, str]) -> None:
    found = {caution.op: caution.reason for caution in told(legal(simplified(MIXED), target)).cautions}
    assert {"MatMul", "Softmax"} <= found.keys() <= {*reasons, "Transpose"}
    assert all(reason in found.get(op, reason) for op, reason in reasons.items())


@pytest.mark.parametrize("target", ["rtx-fp16", "rtx-bf16", "tvm-arm64-fp16"])
def test_narrow_targets_name_what_an_uncalibrated_build_keeps(target: str) -> None:
    found = legal(simplified(MIXED), target)
    narrowing = found.backend.narrowing(found.target)
    assert narrowing is not None
    kept = stages.narrowed(stages.Typed(found.model), narrowing, None, ()).kept
    assert {caution.node: caution.reason for caution in told(found).cautions} == {
        name: f"it stays float32: {reason}" for name, reason in kept.items()
    }
    assert kept
