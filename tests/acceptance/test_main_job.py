"""The main job on real models with true labels, scored on the artifact itself.

The committed models run everywhere; the larger ones where EFFC_ZOO names a zoo folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import support

from effc import zoo
from effc.backends import base
from effc.backends.tflite.runner import LiteRTRunner
from effc.build import BuildReport, build
from effc.core.options import BuildOptions, CalibrationOptions, DataOptions
from effc.core.target import parse_targets

INTEGER = "tflite-int8,ort-int8"
FLOAT = "tflite-fp32,ort-fp32"
SQNR_DB = 90.0


@dataclass(frozen=True)
class Case:
    """A model of the zoo: how many samples to calibrate and score with, and how many points it may lose."""

    name: str
    calibration: int
    evaluation: int
    points: float


CASES = (
    Case("fashion_mobilenet_v2_96", 256, 2000, 1.5),
    Case("pplcnet_orientation", 64, 500, 1.0),
    Case("ppocr_cls", 64, 500, 1.0),
    Case("digit_cnn", 64, 500, 1.0),
)
FLOAT_MODELS = ("mobilenet_v2", "efficientnet_lite0", *(case.name for case in CASES))
SHAPES: Mapping[str, tuple[int | str, ...]] = {"ppocr_cls": ("N", 3, 48, 192)}


def lost(report: BuildReport) -> dict[str, float]:
    """Top-1 points that each target loses against float."""
    found = {t.target: t.verification.top1 for t in report.targets if t.verification is not None}
    return {target: 100 * (top1.float - top1.artifact) for target, top1 in found.items() if top1 is not None}


def operators(artifact: Path) -> dict[tuple[str, str], int]:
    """Operators of a .tflite by name and output type."""
    return dict(LiteRTRunner(artifact, "model.tflite", 1).op_types())


def assert_all_integer(artifact: Path) -> None:
    """Every convolution and product runs in int8, everything is delegated, transpositions stand at the border only."""
    ops = operators(artifact)
    heavy = {(op, dtype) for op, dtype in ops if op in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")}
    assert heavy and {dtype for _, dtype in heavy} == {"int8"}
    assert sum(count for (op, _), count in ops.items() if op == "TRANSPOSE") <= 1
    facts = LiteRTRunner(artifact, "model.tflite", 1).facts()
    assert facts["ops_delegated"] == facts["ops_total"]


def test_committed_models_keep_their_accuracy(trained: support.Classifier, tmp_path: Path) -> None:
    options = BuildOptions(
        trained.model,
        parse_targets(INTEGER),
        tmp_path,
        calibration=CalibrationOptions(DataOptions(str(trained.calib))),
        evaluation=DataOptions(str(trained.evaluation)),
    )
    report = build(options)
    assert report.exit_code == 0
    assert lost(report).keys() == {"tflite-int8", "ort-int8"}
    assert max(lost(report).values()) <= 1.0
    assert_all_integer(tmp_path / "tflite-int8")


def test_committed_models_in_float(trained: support.Classifier, tmp_path: Path) -> None:
    report = build(BuildOptions(trained.model, parse_targets(FLOAT), tmp_path))
    assert_equal_to_float(report)


def assert_equal_to_float(report: BuildReport) -> None:
    assert report.exit_code == 0
    for target in report.targets:
        assert target.verification is not None
        assert all((output.sqnr_db or 1e9) >= SQNR_DB for output in target.verification.outputs)


def shapes(name: str) -> dict[str, tuple[int | str, ...]]:
    return {zoo.find(name).input: SHAPES[name]} if name in SHAPES else {}


@pytest.mark.parametrize("name", FLOAT_MODELS)
def test_zoo_in_float(name: str, zoo_folder: Path, tmp_path: Path) -> None:
    report = build(BuildOptions(zoo.fetch(name), parse_targets(FLOAT), tmp_path, shapes=shapes(name)))
    assert_equal_to_float(report)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_zoo_keeps_its_accuracy(case: Case, zoo_folder: Path, tmp_path: Path) -> None:
    options = BuildOptions(
        zoo.fetch(case.name),
        parse_targets(INTEGER),
        tmp_path,
        shapes=shapes(case.name),
        calibration=CalibrationOptions(DataOptions(str(zoo.data(case.name, "calib", case.calibration)))),
        evaluation=DataOptions(str(zoo.data(case.name, "eval", case.evaluation))),
    )
    report = build(options)
    assert report.exit_code == 0
    assert max(lost(report).values()) <= case.points
    assert_all_integer(tmp_path / "tflite-int8")


def test_two_builds_give_the_same_bytes(mnist: support.Classifier, tmp_path: Path) -> None:
    for place in ("first", "second"):
        options = BuildOptions(
            mnist.model,
            parse_targets(f"{INTEGER},{FLOAT}"),
            tmp_path / place,
            calibration=CalibrationOptions(DataOptions(str(mnist.calib))),
            evaluation=DataOptions(str(mnist.evaluation)),
        )
        build(options)
    files = [p.relative_to(tmp_path / "first") for p in (tmp_path / "first").rglob("*") if p.is_file()]
    compared = [path for path in files if path.name != "measured.json"]
    assert len(compared) >= 4 * 3
    differing = [p for p in compared if (tmp_path / "first" / p).read_bytes() != (tmp_path / "second" / p).read_bytes()]
    assert not differing


def test_what_nobody_foresaw_in_one_target_leaves_the_others(
    mnist: support.Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: object) -> None:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(type(base.find()["tflite"]), "emit", broken)
    report = build(BuildOptions(mnist.model, parse_targets("tflite-fp32,ort-fp32"), tmp_path))
    assert [target.failure is None for target in report.targets] == [False, True]
    assert report.exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["ort-fp32"]
