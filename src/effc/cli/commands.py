"""A function a verb: its arguments become options, the verb is called, and its report is paired with its rendering."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from effc.cli import render, render_check, render_explain
from effc.cli.arguments import stated
from effc.core.errors import BadInput, UnsupportedOps
from effc.core.options import (
    BuildOptions,
    CalibrationOptions,
    DataOptions,
    EngineOptions,
    Gates,
    Profile,
    ShapeRange,
    Tuning,
)
from effc.core.progress import Progress

FINISHING = ("--output", "--overwrite", "--dry-run", "--timing-cache", "--build-timeout")
"""The options of `effc build` that a sealed package leaves open."""


@dataclass(frozen=True)
class Outcome:
    """A report, how to show it to people, and the exit code."""

    report: object
    show: Callable[[], None]
    exit_code: int = 0


def build(args: Namespace, progress: Progress) -> Outcome:
    """`effc build`: of a model, or of a folder, which is a package that another machine sealed."""
    if args.model.is_dir():
        return _finish(args, progress)
    from effc.build import build as run

    report = run(build_options(args), progress)
    return Outcome(report, partial(render.build, report), report.exit_code)


def _finish(args: Namespace, progress: Progress) -> Outcome:
    from effc.finish import FinishOptions
    from effc.finish import finish as run

    given = stated(args)
    if beyond := ", ".join(name for name in given if name not in FINISHING):
        hint = f"the package says how it is built; leave {beyond} out"
        raise BadInput("a package is finished as it was sealed", where=beyond, hint=hint)
    timeout = args.build_timeout if "--build-timeout" in given else None
    options = FinishOptions(args.model, args.output, _timing_cache(args), timeout, args.overwrite, args.dry_run)
    finished = run(options, progress)
    return Outcome(finished, partial(render.finish, finished))


def check(args: Namespace, progress: Progress) -> Outcome:
    """`effc check`: exit code 3 when a target refuses something."""
    from effc.verbs.check import check as run

    with progress.stage("check"):
        report = run(args.model, _shapes(args), args.target)
    return Outcome(report, partial(render_check.check, report), UnsupportedOps.exit_code if report.blocked else 0)


def simplify(args: Namespace, progress: Progress) -> Outcome:
    """`effc simplify`."""
    from effc.compiler.pipeline import Goal
    from effc.verbs.simplify import SimplifyOptions
    from effc.verbs.simplify import simplify as run

    goal = Goal(args.opset, args.max_growth, args.outputs, args.drop_unused_inputs)
    options = SimplifyOptions(args.model, args.output, _shapes(args), goal, args.proof, args.overwrite)
    report = run(options, progress)
    return Outcome(report, partial(render.simplify, report))


def quantize(args: Namespace, progress: Progress) -> Outcome:
    """`effc quantize`."""
    from effc.verbs.quantize import QuantizeOptions
    from effc.verbs.quantize import quantize as run

    options = QuantizeOptions(
        model=args.model,
        output=args.output,
        target=args.target,
        shapes=_shapes(args),
        calibration=calibration(args),
        keep_float=tuple(args.keep_float),
        proof=args.proof,
        overwrite=args.overwrite,
    )
    report = run(options, progress)
    return Outcome(report, partial(render.quantize, report))


def verify(args: Namespace, progress: Progress) -> Outcome:
    """`effc verify`."""
    from effc.verbs.verify import VerifyOptions
    from effc.verbs.verify import verify as run

    options = VerifyOptions(args.artifact, _data(args, args.data, args.samples), args.model, args.metric, args.threads)
    report = run(options, progress)
    return Outcome(report, partial(render.verify, report))


def bench(args: Namespace, progress: Progress) -> Outcome:
    """`effc bench`: warnings go to stderr as well as into the report."""
    from effc.bench.measure import BenchOptions
    from effc.verbs.bench import bench as run

    options = BenchOptions(args.threads, args.rounds, args.min_time, args.streams)
    report = run(args.artifacts, options, progress, args.peers)
    render.warn(report.warnings)
    return Outcome(report, partial(render.bench, report))


def explain(args: Namespace, progress: Progress) -> Outcome:
    """`effc explain`."""
    from effc.verbs.explain import explain as run

    with progress.stage("explain"):
        report = run(args.artifact)
    return Outcome(report, partial(render_explain.explain, report))


def run(args: Namespace, progress: Progress) -> Outcome:
    """`effc run`."""
    from effc.verbs.run import RunOptions
    from effc.verbs.run import run as perform

    with progress.stage("run"):
        report = perform(RunOptions(args.artifact, args.input, args.output, args.overwrite, args.threads))
    return Outcome(report, partial(render.run, report))


def targets(args: Namespace, progress: Progress) -> Outcome:
    """`effc targets`."""
    from effc.verbs.targets import targets as run

    del args, progress
    report = run()
    return Outcome(report, partial(render.targets, report))


def doctor(args: Namespace, progress: Progress) -> Outcome:
    """`effc doctor`."""
    from effc.verbs.doctor import doctor as run

    del args, progress
    report = run()
    return Outcome(report, partial(render.doctor, report))


def zoo(args: Namespace, progress: Progress) -> Outcome:
    """`effc zoo list | fetch | data`."""
    from effc.verbs import zoo as verbs

    if args.action == "list":
        listing = verbs.list_models()
        return Outcome(listing, partial(render.zoo_list, listing))
    with progress.stage(f"{args.action} {args.name}"):
        if args.action == "fetch":
            fetched = verbs.fetch_model(args.name, args.output, overwrite=args.overwrite)
            return Outcome(fetched, partial(render.zoo_fetch, fetched))
        made = verbs.make_data(args.name, args.split, args.count, args.output, overwrite=args.overwrite)
    return Outcome(made, partial(render.zoo_data, made))


COMMANDS: Mapping[str, Callable[[Namespace, Progress], Outcome]] = MappingProxyType(
    {function.__name__: function for function in (build, check, simplify, quantize, verify)}
    | {function.__name__: function for function in (bench, explain, run, targets, doctor, zoo)}
)


def build_options(args: Namespace) -> BuildOptions:
    """What `effc build` was asked, as the pipeline takes it."""
    for name, given in (("--target", args.target), ("-o", args.output)):
        if not given:
            hint = "for example effc build MODEL --target tflite-int8 -o out"
            raise BadInput("it is needed to build a model", where=name, hint=hint)
    return BuildOptions(
        model=args.model,
        targets=args.target,
        out=args.output,
        shapes=_shapes(args),
        calibration=calibration(args),
        evaluation=_data(args, args.eval),
        gates=Gates(args.max_drop, args.metric),
        io=args.io,
        keep_float=tuple(args.keep_float),
        min_sqnr=args.min_sqnr,
        reference=args.reference,
        proof=args.proof,
        overwrite=args.overwrite,
        dry_run=args.dry_run,
        threads=args.threads,
        profiles=profiles(args.shape_range),
        engine=EngineOptions(
            workspace_mb=args.workspace,
            level=args.builder_level,
            tf32=args.tf32,
            weight_streaming=args.weight_streaming,
            hardware=args.hardware_compatible,
            version_compatible=args.version_compatible,
            refit=args.refit,
            timeout_s=args.build_timeout,
        ),
        timing_cache=_timing_cache(args),
        defer=args.defer,
        tuning=_wanted_tuning(args),
    )


def _wanted_tuning(args: Namespace) -> Tuning | None:
    if args.tune is None and args.rpc is not None:
        raise BadInput("a tracker serves a search alone", where="--rpc", hint="add --tune 5m")
    return None if args.tune is None else Tuning(args.tune, args.rpc)


def profiles(given: Sequence[tuple[str, ShapeRange]]) -> tuple[Profile, ...]:
    """The n-th range of an input belongs to the n-th profile; an input that names one alone has it in all of them."""
    ranges: dict[str, list[ShapeRange]] = {}
    for name, found in given:
        ranges.setdefault(name, []).append(found)
    count = max(map(len, ranges.values()), default=0)
    for name, own in ranges.items():
        if len(own) not in (1, count):
            hint = f"give {name} as many ranges as the others have ({count}), or one for all"
            raise BadInput(f"{name} has {len(own)} of {count} ranges", where="--shape-range", hint=hint)
    return tuple({name: own[min(n, len(own) - 1)] for name, own in ranges.items()} for n in range(count))


def _timing_cache(args: Namespace) -> str | None:
    return "" if args.timing_cache == "none" else args.timing_cache


def calibration(args: Namespace) -> CalibrationOptions:
    """The calibration options of build and quantize."""
    return CalibrationOptions(
        data=_data(args, args.calib, args.samples),
        method=args.method,
        percentile=args.percentile,
        bias_correction=args.bias_correction,
        seed=args.seed,
    )


def _data(args: Namespace, spec: str | None, limit: int | None = None) -> DataOptions | None:
    return None if spec is None else DataOptions(spec, args.preprocess, limit)


def _shapes(args: Namespace) -> dict[str, tuple[int | str, ...]]:
    names = [name for name, _ in args.shape]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"the shape of {twice!r} is given twice", where="--shape")
    return dict(args.shape)
