"""`effc build`: the whole pipeline, top to bottom.

simplify -> legalize and check support -> calibrate -> quantize -> emit -> verify -> manifest, target by target.
One target's failure leaves the others' artifacts whole.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import effc
from effc.backends import base
from effc.core import files, host, manifest
from effc.core.artifact import Artifact
from effc.core.errors import BadInput, EffcError, GateFailed, unforeseen
from effc.core.options import BuildOptions, CalibrationOptions
from effc.core.profiles import sizes
from effc.core.progress import Part, Progress
from effc.core.target import Target
from effc.core.worker import Worker
from effc.stages import (
    Legal,
    Typed,
    calibrated,
    check_globs,
    known,
    legalize,
    narrowed,
    need_data,
    profits,
    quantized,
)

if TYPE_CHECKING:
    from effc.bench.accuracy import Labels
    from effc.bench.floats import FloatOutputs
    from effc.calibration.readers import Dataset
    from effc.calibration.statistics import Statistics
    from effc.compiler import ir
    from effc.compiler.pipeline import Prepared

_MODELS = (manifest.TYPED_NAME, manifest.QUANTIZED_NAME)
_BESIDE = (
    *_MODELS,
    *(f"{name}.data" for name in _MODELS),
    manifest.STATISTICS_NAME,
    manifest.REFERENCE_NAME,
)
REFERENCE_SAMPLES = 4
BATCH = 32
_LIBRARIES = ("numpy", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnx-shape-inference")


@dataclass(frozen=True)
class Failure:
    """Why a target has no artifact, or which gate its artifact misses."""

    kind: str
    message: str
    exit_code: int

    @classmethod
    def of(cls, error: EffcError) -> Failure:
        """What an error says."""
        return cls(error.kind, str(error), error.exit_code)


@dataclass(frozen=True)
class TargetReport:
    """One target's outcome.

    Attributes:
        bytes: size of the file that the runtime loads, 0 while the artifact is a sealed package.
        kept: nodes that stay in float32 in spite of the target's precision; the manifest has their reasons.
    """

    target: str
    artifact: Path
    bytes: int = 0
    verification: manifest.Verification | None = None
    sealed: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None
    kept: int = 0


@dataclass(frozen=True)
class BuildReport:
    """What `effc build` prints."""

    source: manifest.Source
    nodes: int
    targets: tuple[TargetReport, ...]
    calibration: manifest.Calibration | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    dry_run: bool = False

    @property
    def exit_code(self) -> int:
        """The first failing target's, else 0."""
        return next((t.failure.exit_code for t in self.targets if t.failure is not None), 0)


@dataclass(frozen=True)
class Shared:
    """What all targets of one build have in common."""

    options: BuildOptions
    progress: Progress
    prepared: Prepared
    calibration: Dataset | None
    statistics: Statistics | None
    evaluation: Dataset | None
    labels: Labels | None
    floats: FloatOutputs


def build(options: BuildOptions, progress: Progress | None = None) -> BuildReport:
    """Build, verify and store one artifact folder for each target.

    Raises:
        BadInput: a flag, the model or the data is wrong; nothing was written.
        EffcError: what stops every target alike. What stops one target is in its report.
    """
    from effc.compiler import pipeline

    progress = progress or Progress()
    _check_options(options)
    prepared = pipeline.prepare(options.model, options.shapes, proof=options.proof, progress=progress)
    with progress.stage("legalize"):
        legal = [_legal(prepared.model, target, options) for target in options.targets]
    check_globs(options.keep_float, [prepared.model, *(found.model for found in legal if isinstance(found, Legal))])
    with tempfile.TemporaryDirectory(prefix="effc-") as scratch:
        possible = [found for found in legal if isinstance(found, Legal)]
        shared = _shared(options, progress, prepared, possible, Path(scratch))
        reports = tuple(
            _failed(options, target, found) if isinstance(found, EffcError) else _target(shared, found)
            for target, found in zip(options.targets, legal, strict=True)
        )
    calibration = None if shared.calibration is None else stated(options.calibration, shared.calibration)
    nodes = len(prepared.model.graph)
    return BuildReport(prepared.source, nodes, reports, calibration, progress.seconds, options.dry_run)


def _legal(model: ir.Model, target: Target, options: BuildOptions) -> Legal | EffcError:
    """The model in the target's ops, and options that it takes; or the error that says why not."""
    found = legalize(model, target, defer=options.defer)
    if isinstance(found, Legal) and isinstance(found.backend, base.Sealing):
        try:
            found.backend.check(found.model, target, _emission(options, Progress()))
        except EffcError as error:
            return error
    return found


def _check_options(options: BuildOptions) -> None:
    """What can be refused before any work."""
    for target in options.targets:
        base.for_target(target)
        files.refuse_existing(options.out / target.folder, overwrite=options.overwrite or options.dry_run)
    if any(target.quantized for target in options.targets):
        need_data(options.calibration)
    if options.evaluation is None and (options.gates.max_drop is not None or options.gates.metric):
        where = "--metric" if options.gates.metric else "--max-drop"
        raise BadInput("it needs labelled data", where=where, hint="--eval data.npz")


def _shared(options: BuildOptions, progress: Progress, prepared: Prepared, legal: list[Legal], scratch: Path) -> Shared:
    """Open the data and calibrate once for all targets."""
    from effc.bench.floats import FloatOutputs
    from effc.calibration.readers import open_data
    from effc.compiler.oracle import graph_inputs

    floats = FloatOutputs(prepared.original, scratch, options.threads)
    evaluation, labels = None, None
    if options.evaluation is not None:
        evaluation = open_data(options.evaluation, graph_inputs(prepared.model), options.calibration.seed)
        labels = _labels(options, evaluation, floats)
    wanted = any(found.target.quantized for found in legal)
    wanted |= options.calibration.data is not None and any(map(profits, legal))
    if options.dry_run or not wanted:
        return Shared(options, progress, prepared, None, None, evaluation, labels, floats)
    with progress.stage("calibrate"):
        dataset, statistics = calibrated(prepared.model, options.calibration, options.profiles)
    return Shared(options, progress, prepared, dataset, statistics, evaluation, labels, floats)


def _labels(options: BuildOptions, evaluation: Dataset, floats: FloatOutputs) -> Labels | None:
    """The labels, tried on the float model's first outputs: what is wrong with them is told before the long work."""
    from effc.bench.accuracy import Comparison, Labels

    gates = options.gates
    labels = Labels.of(evaluation.labels, gates.metric, evaluation.name)
    if gates.max_drop is not None and labels is None:
        raise BadInput("an accuracy gate needs labels", where=evaluation.name, hint="add an array `label`")
    if labels is not None and not gates.metric:
        trial = Comparison(labels)
        _, outputs = next(floats.pairs(evaluation.batches(BATCH)))
        trial.add(outputs, outputs)
        if gates.max_drop is not None and not trial.classes:
            what = "none of the model's outputs is [samples, classes], so there is no top-1"
            raise BadInput(what, where="--max-drop", hint="--metric module:function says what counts instead")
    return labels


def _target(shared: Shared, legal: Legal) -> TargetReport:
    """Build one target; an error becomes its report."""
    options, folder = shared.options, shared.options.out / legal.target.folder
    if options.dry_run:
        sealed = options.defer and isinstance(legal.backend, base.Sealing)
        return TargetReport(str(legal.target), folder, sealed=sealed)
    watch = Part(shared.progress)
    try:
        staged = files.staged_folder(folder, overwrite=options.overwrite)
        with shared.progress.stage(str(legal.target)), staged as staging:
            written = _write(shared, legal, staging, watch)
        gate = _gate(shared.options, legal.target, written.verification)
    except EffcError as error:
        return _failed(options, legal.target, error)
    except Exception as error:
        return _failed(options, legal.target, unforeseen(error, where=str(legal.target)))
    size, found = Artifact(folder, written).size, written.verification
    kept = len(written.kept)
    return TargetReport(str(legal.target), folder, size, found, written.sealed, watch.seconds, gate, kept)


def _write(shared: Shared, legal: Legal, folder: Path, watch: Progress) -> manifest.Manifest:
    """Everything that lies in the artifact folder, the manifest last."""
    options, emission = shared.options, _emission(shared.options, watch)
    with _child(legal, emission, folder) as child:
        with watch.stage("quantize"):
            typed = _typed(shared, legal, folder, watch)
        with watch.stage("emit"):
            emitted = legal.backend.emit(typed.model, legal.target, replace(emission, child=child), folder)
    if options.reference:
        with watch.stage("reference"):
            _write_reference(shared, folder / manifest.REFERENCE_NAME)
    names = [*emitted.files, *(name for name in _BESIDE if (folder / name).exists() and name not in emitted.files)]
    described = _manifest(shared, legal, typed, emitted)
    described = replace(described, files=tuple(manifest.FileInfo.of(folder, name) for name in names))
    described.write(folder, watch.seconds)  # what runs the artifact in an emulator reads it
    with watch.stage("verify"):
        verification = _verify(shared, Artifact(folder, described))
    finished = replace(described, verification=verification)
    finished.write(folder, {**shared.progress.seconds, **watch.seconds})
    return finished


def _child(legal: Legal, emission: base.EmitOptions, folder: Path) -> AbstractContextManager[Worker | None]:
    """What makes the main file of a backend whose artifacts another machine could finish, where none has to."""
    if isinstance(legal.backend, base.Sealing) and not emission.defer:
        return legal.backend.child(folder, legal.target, emission)
    return nullcontext()


def _emission(options: BuildOptions, progress: Progress) -> base.EmitOptions:
    return base.EmitOptions(
        options.io, options.engine, options.profiles, options.timing_cache, options.defer, options.tuning, progress
    )


def _typed(shared: Shared, legal: Legal, folder: Path, watch: Progress) -> Typed:
    """The model to emit; stored as ONNX too where its precision is mixed or another machine finishes it."""
    from effc.compiler import ir

    options, sealing = shared.options, isinstance(legal.backend, base.Sealing)
    scheme, narrowing = legal.backend.scheme(legal.target), legal.backend.narrowing(legal.target)
    data = (shared.calibration, shared.statistics) if shared.calibration and shared.statistics else None
    typed, told = Typed(legal.model), known(legal, data) if data and profits(legal) else None
    if scheme is not None and told is not None:
        found = quantized(legal, scheme, told, options.calibration, options.keep_float)
        typed = Typed(found.model, found.precision)
    if narrowing is not None:
        wanted = replace(narrowing, io=options.io == "native", least_db=options.min_sqnr)
        typed = narrowed(typed, wanted, told, options.keep_float, watch)
    if sealing or scheme is not None:
        ir.save(typed.model, folder / (manifest.TYPED_NAME if sealing else manifest.QUANTIZED_NAME))
    if sealing and options.defer and data is not None:
        data[1].save(folder / manifest.STATISTICS_NAME)
    return typed


def _write_reference(shared: Shared, path: Path) -> None:
    """A few samples with the original's outputs."""
    from effc.bench import reference

    feeds = _samples(shared)
    reference.write(path, reference.Reference(feeds, shared.floats.run(feeds)))


def _samples(shared: Shared) -> Mapping[str, base.Array]:
    """The first evaluation samples, else calibration samples, else seeded random ones."""
    from effc.compiler.oracle import graph_inputs, seeded_feeds

    source = shared.evaluation or shared.calibration
    if source is not None:
        return next(source.batches(REFERENCE_SAMPLES))
    inputs = graph_inputs(shared.prepared.model)
    dims = sizes({entry.name: entry.shape for entry in inputs}, shared.options.profiles)
    return seeded_feeds(inputs, shared.options.calibration.seed, dims)


def _verify(shared: Shared, artifact: Artifact) -> manifest.Verification | None:
    """The artifact itself against the original model: on the evaluation set, else on a few samples.

    None where it cannot run here, and no ONNX says what it computes.
    """
    from effc.bench import accuracy, remote

    if artifact.main is not None and artifact.typed is None and not remote.can_run(artifact):
        return None

    options, dataset = shared.options, shared.evaluation
    batches = [_samples(shared)] if dataset is None else dataset.batches(BATCH)
    source = dataset or shared.calibration
    data = "seeded random" if source is None else Path(source.name).name
    return accuracy.verify(artifact, shared.floats.pairs(batches), shared.labels, data=data, threads=options.threads)


def _manifest(shared: Shared, legal: Legal, typed: Typed, emitted: base.Emitted) -> manifest.Manifest:
    steps = (*shared.prepared.steps, *legal.steps)
    tools = {name: version(name) for name in _LIBRARIES} | legal.backend.versions()
    dataset = shared.calibration if profits(legal) else None
    precision = emitted.precision or typed.precision
    return manifest.Manifest(
        effc=effc.__version__,
        target=str(legal.target),
        io=shared.options.io,
        source=shared.prepared.source,
        inputs=emitted.inputs,
        outputs=emitted.outputs,
        files=(),
        main=emitted.main,
        sealed=emitted.main not in emitted.files,
        steps=tuple(manifest.Step(**asdict(step)) for step in steps),
        calibration=None if dataset is None else stated(shared.options.calibration, dataset),
        precision=precision if len(set(precision.values())) > 1 else {},
        kept=typed.kept,
        toolchain={**tools, "cpu_flags": " ".join(host.cpu_flags()), **emitted.toolchain},
        profiles=emitted.profiles,
        engine=emitted.engine,
    )


def stated(options: CalibrationOptions, dataset: Dataset) -> manifest.Calibration:
    """How ranges were found, as the manifest says it."""
    data = Path(dataset.name).name
    return manifest.Calibration(
        dataset.sha256, len(dataset), options.method, options.seed, data, options.bias_correction
    )


def _gate(options: BuildOptions, target: Target, found: manifest.Verification | None) -> Failure | None:
    """The accuracy gate's verdict: the artifact stays, the exit code says that it is not good enough."""
    if options.gates.max_drop is None or found is None or found.top1 is None:
        return None
    drop = 100.0 * (found.top1.float - found.top1.artifact)
    if drop <= options.gates.max_drop:
        return None
    what = f"it loses {drop:.2f} points of {100 * found.top1.float:.2f}, {options.gates.max_drop} are allowed"
    hint = "more calibration data, another --method, or --keep-float for the worst layers"
    return Failure.of(GateFailed(what, where=str(target), hint=hint))


def _failed(options: BuildOptions, target: Target, error: EffcError) -> TargetReport:
    return TargetReport(str(target), options.out / target.folder, failure=Failure.of(error))
