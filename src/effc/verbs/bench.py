"""`effc bench ARTIFACT..`: latency of artifacts, and of .onnx files in ONNX Runtime, against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from effc import __version__
from effc.bench.measure import BenchOptions, BenchReport, Entry, onnx_feeds
from effc.bench.measure import bench as measure
from effc.bench.peers.table import chosen
from effc.core.artifact import Artifact
from effc.core.errors import BadInput
from effc.core.manifest import FileInfo, Manifest, Source, TensorInfo
from effc.core.progress import Progress


def bench(
    paths: Sequence[Path], options: BenchOptions, progress: Progress | None = None, peers: str = ""
) -> BenchReport:
    """Open all, then measure. The first is what the others' ratios refer to.

    Args:
        peers: what else runs the .onnx file among the paths, separated by commas; see `bench.peers.table`.
    """
    artifacts = [_open(path) for path in paths]
    report = measure(artifacts, options, progress, _peers(paths, artifacts, peers))
    sources = {artifact.manifest.source.sha256: artifact.manifest.source.name for artifact in artifacts}
    if len(sources) == 1:
        return report
    mixed = f"these are made from different models ({', '.join(sources.values())})"
    return replace(report, warnings=(mixed, *report.warnings))


def _peers(paths: Sequence[Path], artifacts: Sequence[Artifact], names: str) -> list[Entry]:
    """Their entries, fed with what the artifacts are fed with."""
    choices = chosen(names, [artifact.manifest.target for artifact in artifacts])
    if not choices:
        return []
    model = next((path for path in paths if path.suffix == ".onnx" and path.is_file()), None)
    if model is None:
        hint = "name it too: effc bench model.onnx out/trt-fp16 --peers trtexec"
        raise BadInput("the peers run an ONNX file, and none is named", where="--peers", hint=hint)
    return [choice.entry(model, onnx_feeds(artifacts)) for choice in choices]


def _open(path: Path) -> Artifact:
    return baseline(path) if path.suffix == ".onnx" and path.is_file() else Artifact.open(path)


def baseline(model: Path) -> Artifact:
    """An ONNX file as the `ort-fp32` artifact that it would be, optimizations on, without a build."""
    from effc.compiler import reader
    from effc.compiler.oracle import graph_inputs

    raw = reader.read(model)
    file = FileInfo.of(model.parent, model.name)
    inputs = tuple(TensorInfo(entry.name, entry.dtype.name, entry.shape) for entry in graph_inputs(raw.proto))
    source = Source(model.name, raw.sha256, 0)
    return Artifact(model.parent, Manifest(__version__, "ort-fp32", "onnx", source, inputs, (), (file,), model.name))
