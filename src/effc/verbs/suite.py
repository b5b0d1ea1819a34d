"""`make bench`: real models built for many targets, scored on labelled data, and timed against the first target."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import geometric_mean

from rich.console import Console
from rich.table import Table

from effc import zoo
from effc.bench.measure import BenchOptions, BenchResult, bench
from effc.bench.reference import load
from effc.bench.remote import can_run
from effc.bench.report import grid, number, percent
from effc.build import TargetReport, build
from effc.core import host
from effc.core.artifact import Artifact
from effc.core.encode import to_json
from effc.core.errors import BadInput, EffcError
from effc.core.files import write_atomic
from effc.core.options import BuildOptions, CalibrationOptions, DataOptions
from effc.core.target import Target, parse_targets

MODELS: tuple[str, ...] = (
    "mnist_minimobile",
    "fashion_minires",
    "digit_cnn",
    "fashion_mobilenet_v2_96",
    "mobilenet_v2",
)
MODELS += ("efficientnet_lite0", "pplcnet_orientation", "ppocr_cls")
TARGETS = "ort-fp32,ort-int8,tflite-fp32,tflite-int8"
SHAPES: Mapping[str, tuple[int | str, ...]] = {
    "ppocrv4_rec": ("N", 3, 48, 320),
    "ppocrv4_det": ("N", 3, 320, 320),
    "centerface": ("N", 3, 320, 320),
}
"""Dims for models that leave the image size open and have no data that would say it."""
CALIBRATION_SAMPLES = 64
_EVALUATION_SAMPLES = (2000, 1000, 500, 200, 100, 20)


@dataclass(frozen=True)
class SuiteRow:
    """One model on one target. What is not known, or failed, is None; `failure` says why.

    Attributes:
        build_s: wall seconds of its own build, nothing cached.
        top1_float, top1: fractions over `n` labelled samples.
        of: "artifact", or "typed-onnx" where the artifact cannot run here.
        ratio: latency against the model's first target, interleaved.
    """

    model: str
    target: str
    build_s: float
    file_bytes: int = 0
    sqnr_db: float | None = None
    agreement: float | None = None
    top1_float: float | None = None
    top1: float | None = None
    n: int = 0
    of: str = ""
    p50_ms: float | None = None
    ratio: float | None = None
    spread: float | None = None
    delegated: float | None = None
    failure: str = ""


@dataclass(frozen=True)
class SuiteReport:
    """All rows and the machine that they were measured on."""

    device: str
    cpu_flags: tuple[str, ...]
    threads: int
    rows: tuple[SuiteRow, ...]


@dataclass(frozen=True)
class _Built:
    """A target's outcome with the seconds that it took."""

    report: TargetReport
    seconds: float


def run(names: Sequence[str], targets: Sequence[Target], options: BenchOptions) -> Iterator[SuiteRow]:
    """Rows model by model. A model that cannot be had here is told on stderr and left out."""
    for name in names:
        try:
            model = zoo.fetch(name)
        except EffcError as error:
            print(f"{name}: left out ({error.what})", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory(prefix="effc-suite-") as folder:
            yield from _rows(name, _built(name, model, Path(folder), targets), options)


def _built(name: str, model: Path, folder: Path, targets: Sequence[Target]) -> list[_Built]:
    calibration, evaluation = _data(name, "calib", (CALIBRATION_SAMPLES,)), _data(name, "eval", _EVALUATION_SAMPLES)
    built: list[_Built] = []
    for target in targets:
        wanted = BuildOptions(
            model=model,
            targets=(target,),
            out=folder,
            shapes=_shapes(name, evaluation),
            calibration=CalibrationOptions(calibration or DataOptions("random", limit=CALIBRATION_SAMPLES)),
            evaluation=evaluation,
            io="native" if str(target) == "tflite-int8" else "onnx",
        )
        built.append(_timed(wanted))
    return built


def _timed(options: BuildOptions) -> _Built:
    start = time.perf_counter()
    with _fresh_cache():
        [report] = build(options).targets
    return _Built(report, time.perf_counter() - start)


def _rows(name: str, built: Sequence[_Built], options: BenchOptions) -> list[SuiteRow]:
    whole = [Artifact.open(each.report.artifact) for each in built if each.report.failure is None]
    running = [artifact for artifact in whole if can_run(artifact)]
    results = bench(running, options).results if running else ()
    timed = {result.target: result for result in results}
    return [_timings(_row(name, each), timed.get(each.report.target)) for each in built]


def _row(name: str, built: _Built) -> SuiteRow:
    report, found = built.report, built.report.verification
    if report.failure is not None or found is None:
        return SuiteRow(name, report.target, built.seconds, failure=report.failure.message if report.failure else "")
    return SuiteRow(
        model=name,
        target=report.target,
        build_s=built.seconds,
        file_bytes=report.bytes,
        sqnr_db=found.outputs[0].sqnr_db,
        agreement=found.agreement,
        top1_float=found.top1.float if found.top1 else None,
        top1=found.top1.artifact if found.top1 else None,
        n=found.samples,
        of=found.of,
    )


def _timings(row: SuiteRow, timed: BenchResult | None) -> SuiteRow:
    if timed is None:
        return row
    p50, delegated = timed.latency_ms.p50, timed.delegated
    return replace(row, p50_ms=p50, ratio=timed.ratio, spread=timed.spread, delegated=delegated)


def _data(name: str, split: str, counts: Iterable[int]) -> DataOptions | None:
    """As many samples as there are, up to the largest count; None where there are none."""
    for count in counts:
        try:
            return DataOptions(str(zoo.data(name, split, count)))
        except BadInput:
            continue
    return None


def _shapes(name: str, data: DataOptions | None) -> dict[str, tuple[int | str, ...]]:
    """The input's dims as the data has them, samples open: some models leave the image size open as well."""
    model = zoo.find(name)
    if data is None:
        return {model.input: SHAPES[name]} if name in SHAPES else {}
    return {model.input: ("N", *load(Path(data.spec))[model.input].shape[1:])}


@contextmanager
def _fresh_cache() -> Iterator[None]:
    """No build profits from what another has cached, so that its seconds are its own."""
    before = os.environ.get("EFFC_CACHE")
    with tempfile.TemporaryDirectory(prefix="effc-cache-") as folder:
        os.environ["EFFC_CACHE"] = folder
        try:
            yield
        finally:
            del os.environ["EFFC_CACHE"]
            if before is not None:
                os.environ["EFFC_CACHE"] = before


def table(rows: Iterable[SuiteRow]) -> Table:
    """The rows for people; `x first` is the latency ratio to the model's first row."""
    heads = ("model", "target", ">build s", ">file MB", ">SQNR dB", ">same", ">top-1 float", ">top-1", ">n")
    made = grid(*heads, ">p50 ms", ">x first", ">spread", ">delegated")
    for row in rows:
        if row.failure:
            made.add_row(row.model, row.target, f"{row.build_s:.1f}", "failed")
            continue
        size, taken = f"{row.file_bytes / 1e6:.2f}", f"{row.build_s:.1f}"
        scores = (f"{100 * s:.2f}" if s is not None else "-" for s in (row.agreement, row.top1_float, row.top1))
        times = (number(row.p50_ms, 3), number(row.ratio, 3), percent(row.spread), percent(row.delegated))
        made.add_row(row.model, row.target, taken, size, number(row.sqnr_db, 1), *scores, str(row.n), *times)
    return made


def means(rows: Sequence[SuiteRow]) -> Table:
    """Geometric means of latency ratios over the models that both targets ran: of each pair that one would compare.

    A target is compared with every earlier one of its precision, and a quantized one with its backend's first.
    """
    p50 = {(row.model, row.target): row.p50_ms for row in rows if row.p50_ms}
    targets = list(dict.fromkeys(target for _, target in p50))
    made = grid("target", "against", ">mean ratio", ">worst", ">models")
    for place, target in enumerate(targets):
        for other in targets[:place]:
            if not _comparable(Target.parse(target), Target.parse(other)):
                continue
            shared = [model for model, own in p50 if own == target and (model, other) in p50]
            ratios = [p50[model, target] / p50[model, other] for model in shared]
            made.add_row(target, other, f"{geometric_mean(ratios):.3f}", f"{max(ratios):.3f}", str(len(ratios)))
    return made


def _comparable(target: Target, other: Target) -> bool:
    return target.precision == other.precision or (target.backend, target.device) == (other.backend, other.device)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suite, print its table, write it as JSON if asked; 1 when anything failed."""
    parser = argparse.ArgumentParser(prog="effc.verbs.suite", description="Build, score and time real models.")
    parser.add_argument("--models", default=",".join(MODELS), help="names, separated by commas")
    parser.add_argument("--targets", type=parse_targets, default=TARGETS, help="what to build, separated by commas")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--min-time", type=float, default=2.0, help="timed seconds for each artifact")
    parser.add_argument("--json", type=Path, help="write the rows there as well")
    args = parser.parse_args(argv)
    options = BenchOptions(args.threads, args.rounds, args.min_time)
    rows = tuple(run(args.models.split(","), args.targets, options))
    report = SuiteReport(host.cpu_name(), host.cpu_flags(), args.threads, rows)
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160).print(
        table(rows), means(rows), sep="\n"
    )
    for row in rows:
        if row.failure:
            print(f"{row.model} {row.target}: {row.failure}", file=sys.stderr)
    if args.json:
        write_atomic(args.json, to_json(report).encode())
    return int(any(row.failure for row in rows))


if __name__ == "__main__":
    sys.exit(main())
