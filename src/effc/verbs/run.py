"""`effc run ARTIFACT`: outputs for a .npz of inputs, both by ONNX name, real-valued, channels first."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from effc.bench.accuracy import infer
from effc.bench.adapt import Adapter
from effc.bench.reference import load
from effc.bench.remote import open_runner
from effc.core.artifact import Artifact
from effc.core.files import refuse_existing_file, write_atomic


@dataclass(frozen=True)
class RunOptions:
    """What to run on what. `output` is a .npz with an array for each output."""

    artifact: Path
    input: Path
    output: Path
    overwrite: bool = False
    threads: int = 1


@dataclass(frozen=True)
class OutputRow:
    """An output that was written."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class RunReport:
    """What `effc run` prints."""

    target: str
    output: Path
    outputs: tuple[OutputRow, ...]


def run(options: RunOptions) -> RunReport:
    """Run and write. Raises BadInput when the inputs do not fit or the output is there already."""
    refuse_existing_file(options.output, overwrite=options.overwrite)
    artifact = Artifact.open(options.artifact)
    names = {info.name for info in artifact.manifest.inputs}
    feeds = {name: array for name, array in load(options.input).items() if name in names or name != "label"}
    with open_runner(artifact, options.threads) as runner:
        outputs = infer(runner, Adapter.of(artifact.manifest), feeds)
    buffer = io.BytesIO()
    np.savez(buffer, **outputs)  # type: ignore[arg-type]
    write_atomic(options.output, buffer.getvalue(), overwrite=options.overwrite)
    rows = tuple(OutputRow(name, str(array.dtype), array.shape) for name, array in outputs.items())
    return RunReport(artifact.manifest.target, options.output, rows)
