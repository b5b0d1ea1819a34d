"""`effc build`: the whole pipeline, top to bottom.

simplify -> legalize and check support -> calibrate -> quantize -> emit -> verify -> manifest, target by target.
One target's failure leaves the others' artifacts whole.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import effc
from effc.backends import base
from effc.core import files, host, manifest
from effc.core.artifact import Artifact
from effc.core.errors import BadInput, EffcError, GateFailed, Refusal, UnsupportedOps, unforeseen
from effc.core.options import BuildOptions, CalibrationOptions, DataOptions
from effc.core.progress import Progress
from effc.core.target import Target

if TYPE_CHECKING:
    from effc.bench.accuracy import Labels
    from effc.bench.floats import FloatOutputs
    from effc.calibration.quantize import Quantized
    from effc.calibration.readers import Dataset
    from effc.calibration.scheme import Scheme
    from effc.calibration.statistics import Statistics
    from effc.compiler import ir
    from effc.compiler.phase import StepRecord
    from effc.compiler.pipeline import Prepared

REFERENCE_SAMPLES = 4
BATCH = 32
_LIBRARIES = ("numpy", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnxsim", "onnx-shape-inference")


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
    """One target's outcome. `bytes` is the size of the file that the runtime loads."""

    target: str
    artifact: Path
    bytes: int = 0
    verification: manifest.Verification | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None


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
class Legal:
    """A target with the simplified model in its ops."""

    target: Target
    backend: base.Backend
    model: ir.Model
    steps: tuple[StepRecord, ...]


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
    with progress.stage("simplify"):
        prepared = pipeline.prepare(options.model, options.shapes, proof=options.proof)
    with progress.stage("legalize"):
        legal = [legalize(prepared.model, target) for target in options.targets]
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


def legalize(model: ir.Model, target: Target) -> Legal | EffcError:
    """The model in the target's ops, or the error that says why it cannot be."""
    from effc.compiler import phase

    try:
        backend = base.for_target(target)
        base.require(backend)
        trial = model.clone()
        steps = phase.run(trial, backend.legalize(target))
        refusals = backend.support(trial, target)
        if refusals:
            raise UnsupportedOps(str(target), refusals)
    except EffcError as error:
        return error
    except Exception as error:
        return unforeseen(error, where=str(target))
    return Legal(target, backend, trial, steps)


def calibrated(model: ir.Model, options: CalibrationOptions) -> tuple[Dataset, Statistics]:
    """The calibration set and the statistics of all activations over it, cached by content."""
    from effc.calibration.collect import collect_cached
    from effc.calibration.readers import open_data
    from effc.compiler.oracle import graph_inputs

    dataset = open_data(_need_data(options), graph_inputs(model), options.seed)
    return dataset, collect_cached(model, dataset)


def quantized(
    legal: Legal, scheme: Scheme, data: tuple[Dataset, Statistics], options: CalibrationOptions, keep: tuple[str, ...]
) -> Quantized:
    """Q/DQ written into a legalized model by its target's scheme."""
    from effc.calibration.bias_correction import correct
    from effc.calibration.collect import complete, stated_ranges
    from effc.calibration.quantize import quantize
    from effc.calibration.ranges import ranges

    dataset, statistics = data
    full = complete(statistics, legal.model, dataset)
    found = {**ranges(full, options.method, options.percentile), **stated_ranges(legal.model)}
    result = quantize(legal.model, found, scheme, keep_float=keep)
    if not any(node.op_type == "QuantizeLinear" for node in result.model.graph):
        raise _nothing_quantized(legal)
    return correct(result, legal.model, dataset) if options.bias_correction else result


def check_globs(globs: Iterable[str], models: Iterable[ir.Model]) -> None:
    """Raise BadInput for a `--keep-float` that matches no node of the models: most likely a slip of the pen."""
    names = {node.name or "" for model in models for node in model.graph}
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in names):
            hint = "`effc simplify` writes the model whose nodes are meant"
            raise BadInput(f"{glob!r} matches the name of no node", where="--keep-float", hint=hint)


def _need_data(options: CalibrationOptions) -> DataOptions:
    if options.data is None:
        hint = "--calib data.npz (or, knowing that accuracy is lost, --calib random)"
        raise BadInput("a quantized target needs calibration data", where="--calib", hint=hint)
    return options.data


def _nothing_quantized(legal: Legal) -> UnsupportedOps:
    """An int8 artifact without an int8 kernel would claim what it is not."""
    kinds = {v.dtype.name.lower() for n in legal.model.graph for v in n.outputs if v.dtype is not None}
    others = ", ".join(sorted(kinds & {"float16", "bfloat16", "double"}))
    hint = f"its tensors are {others}: export it in float32" if others else "build the float target"
    reason = "not one of its nodes can run quantized"
    return UnsupportedOps(str(legal.target), [Refusal(legal.model.graph.name or "graph", "model", reason, hint)])


def _check_options(options: BuildOptions) -> None:
    """What can be refused before any work."""
    for target in options.targets:
        base.for_target(target)
        files.refuse_existing(options.out / target.folder, overwrite=options.overwrite or options.dry_run)
    if any(target.quantized for target in options.targets):
        _need_data(options.calibration)
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
    if options.dry_run or not any(found.target.quantized for found in legal):
        return Shared(options, progress, prepared, None, None, evaluation, labels, floats)
    with progress.stage("calibrate"):
        dataset, statistics = calibrated(prepared.model, options.calibration)
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
        return TargetReport(str(legal.target), folder)
    watch = Progress()
    try:
        staged = files.staged_folder(folder, overwrite=options.overwrite)
        with shared.progress.stage(str(legal.target)), staged as staging:
            written = _write(shared, legal, staging, watch)
        gate = _gate(shared.options, legal.target, written.verification)
    except EffcError as error:
        return _failed(options, legal.target, error)
    except Exception as error:
        return _failed(options, legal.target, unforeseen(error, where=str(legal.target)))
    size = Artifact(folder, written).size
    return TargetReport(str(legal.target), folder, size, written.verification, watch.seconds, gate)


def _write(shared: Shared, legal: Legal, folder: Path, watch: Progress) -> manifest.Manifest:
    """Everything that lies in the artifact folder, the manifest last."""
    options = shared.options
    with watch.stage("quantize"):
        model = _quantize(shared, legal, folder)
    with watch.stage("emit"):
        emitted = legal.backend.emit(model, legal.target, base.EmitOptions(options.io), folder)
    if options.reference:
        _write_reference(shared, folder / manifest.REFERENCE_NAME)
    extras = [manifest.QUANTIZED_NAME, manifest.REFERENCE_NAME]
    names = [*emitted.files, *(name for name in extras if (folder / name).exists() and name not in emitted.files)]
    described = _manifest(shared, legal, emitted, tuple(manifest.FileInfo.of(folder, name) for name in names))
    with watch.stage("verify"):
        verification = _verify(shared, Artifact(folder, described))
    finished = replace(described, verification=verification)
    (folder / manifest.FILE_NAME).write_text(finished.to_json(), encoding="utf-8")
    timed = {"stages_s": {**shared.progress.seconds, **watch.seconds}}
    (folder / manifest.MEASURED_NAME).write_text(json.dumps(timed, indent=2) + "\n", encoding="utf-8")
    return finished


def _quantize(shared: Shared, legal: Legal, folder: Path) -> ir.Model:
    """The model to emit; where it is quantized it is stored beside the artifact as ONNX too."""
    from effc.compiler import ir

    scheme = legal.backend.scheme(legal.target)
    if scheme is None or shared.calibration is None or shared.statistics is None:
        return legal.model
    data, options = (shared.calibration, shared.statistics), shared.options
    model = quantized(legal, scheme, data, options.calibration, options.keep_float).model
    ir.save(model, folder / manifest.QUANTIZED_NAME)
    return model


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
    return seeded_feeds(graph_inputs(shared.prepared.model), shared.options.calibration.seed)


def _verify(shared: Shared, artifact: Artifact) -> manifest.Verification:
    """The artifact itself against the original model: on the evaluation set, else on a few samples."""
    from effc.bench import accuracy

    options, dataset = shared.options, shared.evaluation
    batches = [_samples(shared)] if dataset is None else dataset.batches(BATCH)
    source = dataset or shared.calibration
    data = "seeded random" if source is None else Path(source.name).name
    return accuracy.verify(artifact, shared.floats.pairs(batches), shared.labels, data=data, threads=options.threads)


def _manifest(
    shared: Shared, legal: Legal, emitted: base.Emitted, infos: tuple[manifest.FileInfo, ...]
) -> manifest.Manifest:
    steps = (*shared.prepared.steps, *legal.steps)
    tools = {name: version(name) for name in _LIBRARIES} | legal.backend.versions()
    scheme, dataset = legal.backend.scheme(legal.target), shared.calibration
    return manifest.Manifest(
        effc=effc.__version__,
        target=str(legal.target),
        io=shared.options.io,
        source=shared.prepared.source,
        inputs=emitted.inputs,
        outputs=emitted.outputs,
        files=infos,
        steps=tuple(manifest.Step(**asdict(step)) for step in steps),
        calibration=None if scheme is None or dataset is None else stated(shared.options.calibration, dataset),
        precision=emitted.precision,
        toolchain=tools | {"cpu_flags": " ".join(host.cpu_flags())},
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
