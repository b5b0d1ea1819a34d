"""TensorRT engines of real models: they build without a GPU, and what they compute keeps the accuracy.

The typed ONNX that an engine is built from is what is scored here; where there is a GPU, the engine itself.
The committed models run everywhere; the larger ones where EFFC_ZOO names a zoo folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import support

from effc import zoo
from effc.backends.tensorrt.explain.contents import Contents
from effc.build import BuildReport, TargetReport, build
from effc.core.manifest import MEASURED_NAME, Manifest
from effc.core.options import BuildOptions, CalibrationOptions, DataOptions, ShapeRange
from effc.core.target import parse_targets

FLOAT16_DB = 50.0
TARGETS = "rtx-fp32:sm89,rtx-fp16:sm89,rtx-int8:sm89"
HEAVY_BYTES = 5_000_000


@dataclass(frozen=True)
class Case:
    """A model of the zoo.

    Attributes:
        shape: dims of its input, symbols where a profile is to cover them.
        calibration, evaluation: samples; 0 where it has none.
        points: top-1 points that int8 may lose; of 20 images one is five points, so they are scored by SQNR.
        span: the profile, where more than the samples is dynamic.
    """

    name: str
    shape: tuple[int | str, ...] = ()
    calibration: int = 0
    evaluation: int = 0
    points: float = 1.0
    span: ShapeRange | None = None


CASES = (
    Case("fashion_mobilenet_v2_96", calibration=256, evaluation=2000, points=2.5),
    Case("pplcnet_orientation", calibration=64, evaluation=500),
    Case("ppocr_cls", ("N", 3, 48, 192), calibration=64, evaluation=500),
    Case("digit_cnn", calibration=64, evaluation=500),
    Case("mobilenet_v2", calibration=64, evaluation=20, points=100),
    Case("efficientnet_lite0", calibration=64, evaluation=20, points=100),
    Case("minilm_l6_v2_seq64"),
    Case("ppocrv4_rec", ("N", 3, 48, "W"), 64, 40, span=ShapeRange((1, 3, 48, 64), (1, 3, 48, 320), (32, 3, 48, 640))),
    Case(
        "ppocrv4_det", ("N", 3, "H", "W"), 32, 20, span=ShapeRange((1, 3, 64, 64), (1, 3, 96, 640), (32, 3, 640, 640))
    ),
    Case("centerface", ("N", 3, 256, 256), 32, 20),
)


def assert_keeps(report: BuildReport, points: float) -> None:
    """FP16 within FLOAT16_DB, and INT8 within the points where there are labels."""
    assert report.exit_code == 0, report
    for target in report.targets:
        assert target.verification is not None and target.bytes > 0
        if "fp16" in target.target:
            assert all(o.sqnr_db is None or o.sqnr_db >= FLOAT16_DB for o in target.verification.outputs)
        if (top1 := target.verification.top1) is not None:
            assert 100 * (top1.float - top1.artifact) <= points


def by_precision(report: BuildReport) -> dict[str, TargetReport]:
    return {target.target.split("-")[1].split(":")[0]: target for target in report.targets}


def test_committed_models(trained: support.Classifier, tmp_path: Path) -> None:
    options = BuildOptions(
        trained.model,
        parse_targets(f"{TARGETS},rtx-bf16:sm89,rtx-fp8:sm89,rtx-best:sm89"),
        tmp_path,
        calibration=CalibrationOptions(DataOptions(str(trained.calib))),
        evaluation=DataOptions(str(trained.evaluation)),
        timing_cache="",
    )
    report = build(options)
    assert_keeps(report, 1.0)
    assert len(report.targets) == 6


def test_two_builds_give_the_same_bytes(mnist: support.Classifier, tmp_path: Path) -> None:
    for place in ("first", "second"):
        data = CalibrationOptions(DataOptions(str(mnist.calib)))
        build(BuildOptions(mnist.model, parse_targets(TARGETS), tmp_path / place, calibration=data, proof=False))
    files = [path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file()]
    compared = [path for path in files if path.name != MEASURED_NAME]
    assert len(compared) >= 4 * 3
    differing = [p for p in compared if (tmp_path / "first" / p).read_bytes() != (tmp_path / "second" / p).read_bytes()]
    assert not differing


def test_profiles_are_stated(mnist: support.Classifier, tmp_path: Path) -> None:
    given = ({"input": ShapeRange((1, 1, 28, 28), (4, 1, 28, 28), (8, 1, 28, 28))},)
    build(BuildOptions(mnist.model, parse_targets("rtx-fp32:sm89"), tmp_path, profiles=given, proof=False))
    assert Manifest.read(tmp_path / "rtx-fp32-sm89").profiles == given


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_zoo(case: Case, zoo_folder: Path, tmp_path: Path) -> None:
    def data(split: str, count: int) -> DataOptions | None:
        return DataOptions(str(zoo.data(case.name, split, count))) if count else None

    model = zoo.find(case.name)
    options = BuildOptions(
        zoo.fetch(case.name),
        parse_targets(TARGETS),
        tmp_path,
        shapes={model.input: case.shape} if case.shape else {},
        calibration=CalibrationOptions(data("calib", case.calibration) or DataOptions("random", limit=16)),
        evaluation=data("eval", case.evaluation),
        profiles=({model.input: case.span},) if case.span else (),
    )
    report = build(options)
    assert_keeps(report, case.points)
    built = by_precision(report)
    if model.preprocess and built["fp32"].bytes >= HEAVY_BYTES and 2 * built["int8"].bytes > built["fp32"].bytes:
        assert_explained(built["int8"].artifact)


def assert_explained(artifact: Path) -> None:
    """What the engine holds beyond its weights is text of kernels and zeros, but for a quarter of it."""
    weights = (artifact / "typed.onnx").stat().st_size
    found = Contents.of(artifact / "model.engine")
    assert found.text + found.zeros >= 0.75 * (found.bytes - weights)
