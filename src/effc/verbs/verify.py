"""`effc verify ARTIFACT`: the artifact against the float model, on what it carries or on data of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from effc.bench import accuracy
from effc.bench.accuracy import Feeds, Labels
from effc.bench.adapt import onnx_dims
from effc.core.artifact import Artifact
from effc.core.errors import BadInput
from effc.core.manifest import Verification
from effc.core.options import DataOptions
from effc.core.progress import Progress

if TYPE_CHECKING:
    from onnx import ModelProto

BATCH = 32


@dataclass(frozen=True)
class VerifyOptions:
    """What to verify with what.

    Attributes:
        data: samples of the user's, which need `model`; None takes the artifact's own reference.
        model: the ONNX file that the artifact was built from.
        metric: `module:function` that replaces top-1.
    """

    artifact: Path
    data: DataOptions | None = None
    model: Path | None = None
    metric: str = ""
    threads: int = 1


@dataclass(frozen=True)
class VerifyReport:
    """What `effc verify` prints."""

    artifact: Path
    target: str
    verification: Verification


def verify(options: VerifyOptions, progress: Progress | None = None) -> VerifyReport:
    """Run both and compare.

    Raises:
        BadInput: the artifact is damaged, the model is not the one it was built from, the data does not fit.
        BackendFailed: the artifact fails when run.
    """
    progress = progress or Progress()
    artifact = Artifact.open(options.artifact)
    with progress.stage("verify"):
        found = _with_data(artifact, options, progress) if options.data else _with_reference(artifact, options)
    return VerifyReport(options.artifact, artifact.manifest.target, found)


def _with_reference(artifact: Artifact, options: VerifyOptions) -> Verification:
    if options.metric or options.model:
        raise BadInput("--metric and --model need samples to work on", where="effc verify", hint="give --data as well")
    if artifact.reference is None:
        hint = "give --data and --model, or build it without --no-reference"
        raise BadInput("it holds no reference.npz", where=str(artifact.folder), hint=hint)
    return accuracy.verify_carried(artifact, artifact.reference, options.threads)


def _with_data(artifact: Artifact, options: VerifyOptions, progress: Progress) -> Verification:
    from effc.calibration.readers import open_data
    from effc.compiler.oracle import Session, graph_inputs

    model = _original(artifact, options)
    dataset = open_data(options.data, graph_inputs(model)) if options.data else None
    if dataset is None:
        raise BadInput("no data is named", where="--data")
    labels = Labels.of(dataset.labels, options.metric, dataset.name)
    session = Session(model, threads=options.threads)

    def pairs() -> Iterator[tuple[Feeds, Feeds]]:
        for number, feeds in enumerate(dataset.batches(BATCH)):
            yield feeds, session.run(feeds)
            progress.advance((number + 1) * BATCH, len(dataset))

    return accuracy.verify(artifact, pairs(), labels, data=Path(dataset.name).name, threads=options.threads)


def _original(artifact: Artifact, options: VerifyOptions) -> ModelProto:
    """The model that the user names, if the artifact was built from it, with the input dims of the build."""
    from effc.compiler import frontend, reader

    if options.model is None:
        raise BadInput("--data needs the float model to compare with", hint=f"--model {artifact.manifest.source.name}")
    if reader.read(options.model).sha256 != artifact.manifest.source.sha256:
        what = f"the artifact was built from another file (sha256 {artifact.manifest.source.sha256[:12]}...)"
        raise BadInput(what, where=str(options.model), hint="build the artifact again from this model")
    return frontend.load(options.model, {info.name: onnx_dims(info) for info in artifact.manifest.inputs}).original
