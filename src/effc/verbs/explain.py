"""`effc explain ARTIFACT`: which layer runs in which precision, and why it is no faster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from effc.backends import base
from effc.backends.explanation import Explanation
from effc.bench import reference
from effc.bench.adapt import Adapter
from effc.core.artifact import Artifact
from effc.core.errors import BadInput
from effc.core.manifest import FILE_NAME


@dataclass(frozen=True)
class ExplainReport:
    """What `effc explain` prints. `target` is empty for a file of layers that lies in no artifact."""

    source: Path
    target: str
    explanation: Explanation


def explain(path: Path) -> ExplainReport:
    """Explain an artifact's folder, or a file of TensorRT's layer information.

    Raises:
        BadInput: neither the one nor the other.
        BackendMissing: an artifact that has to run for it, and a library that is not here.
    """
    if path.is_file():
        from effc.backends.tensorrt.explain.report import from_file

        _check_layers(path)
        return ExplainReport(path, "", from_file(path))
    artifact = Artifact.open(path)
    backend = base.for_target(artifact.target)
    if not isinstance(backend, base.Sealing):  # whose artifacts say on paper what they are
        base.require(backend)
    told = backend.explain(artifact, _sample(artifact))
    return ExplainReport(path, artifact.manifest.target, told)


def _check_layers(path: Path) -> None:
    """Raise BadInput for a file that is a model, or another part of an artifact, by its name."""
    if path.suffix == ".json" and path.name != FILE_NAME:
        return
    if (path.parent / FILE_NAME).exists():
        raise BadInput("it is one file of an artifact", where=str(path), hint=f"`effc explain {path.parent}`")
    if path.suffix == ".onnx":
        hint = "`effc build` makes an artifact of it; explain that folder"
        raise BadInput("it is a model, not an artifact", where=str(path), hint=hint)


def _sample(artifact: Artifact) -> base.Feeds | None:
    """One of the artifact's reference samples, or as many as one call takes."""
    if artifact.reference is None:
        return None
    feeds = reference.read(artifact.reference).feeds
    if all(info.shape and isinstance(info.shape[0], str) for info in artifact.manifest.inputs):
        feeds = {name: array[:1] for name, array in feeds.items()}
    adapter = Adapter.of(artifact.manifest)
    sample, _ = next(adapter.calls(feeds))
    return adapter.feed(sample)
