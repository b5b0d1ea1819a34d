"""`effc build PACKAGE`: make the file that a sealed package lacks, on the machine that has what it needs."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from effc.backends import base
from effc.bench import accuracy
from effc.bench.remote import can_run
from effc.build import TargetReport
from effc.core import files
from effc.core.artifact import Artifact
from effc.core.errors import BadInput, EffcError
from effc.core.manifest import MEASURED_NAME, FileInfo, Manifest
from effc.core.options import EngineOptions
from effc.core.progress import Part, Progress


@dataclass(frozen=True)
class FinishOptions:
    """What to finish.

    Attributes:
        package: the folder that `effc build --defer` wrote.
        out: the artifact goes into a folder of the target's name there; None finishes the package in its place.
        timing_cache: as in `BuildOptions`.
        timeout_s: seconds after which the build is stopped; None takes those that the package states.
        dry_run: check the package, what it needs and where it goes; build nothing.
    """

    package: Path
    out: Path | None = None
    timing_cache: str | None = None
    timeout_s: float | None = None
    overwrite: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class FinishReport:
    """What `effc build PACKAGE` prints."""

    source: str
    target: TargetReport
    dry_run: bool = False


def finish(options: FinishOptions, progress: Progress | None = None) -> FinishReport:
    """Build the package's main file, verify it against the outputs that it carries, and state it in the manifest.

    Raises:
        BadInput: no package, a damaged one, or one that is finished already.
        BackendMissing: the library, or the device that it needs, is not here either.
        BackendFailed: the library failed. In every case the package stays as it was.
    """
    progress = progress or Progress()
    package = Artifact.open(options.package)
    backend = _backend(package)
    folder = options.package if options.out is None else options.out / package.target.folder
    overwrite = options.out is None or options.overwrite
    if options.dry_run:
        files.refuse_existing(folder, overwrite=overwrite)
        return FinishReport(package.manifest.source.name, TargetReport(str(package.target), folder), dry_run=True)
    watch = Part(progress)
    emission = base.EmitOptions(
        package.manifest.io,
        _engine(package.manifest, options),
        package.manifest.profiles,
        options.timing_cache,
        progress=watch,
    )
    with progress.stage(str(package.target)), files.staged_folder(folder, overwrite=overwrite) as staging:
        _copy(package, staging)
        with watch.stage("emit"):
            made = backend.finish(staging, package.target, emission)
        with watch.stage("verify"):
            finished = _verified(staging, _stated(package.manifest, staging, made))
        finished.write(staging, {**_measured(options.package), **watch.seconds})
    size = Artifact(folder, finished).size
    report = TargetReport(str(package.target), folder, size, finished.verification, seconds=watch.seconds)
    return FinishReport(finished.source.name, report)


def _engine(manifest: Manifest, options: FinishOptions) -> EngineOptions:
    """As the package states it, but for the deadline, which this machine may need longer than."""
    engine = manifest.engine or EngineOptions()
    return engine if options.timeout_s is None else replace(engine, timeout_s=options.timeout_s)


def _backend(package: Artifact) -> base.Sealing:
    """The backend that can finish the package here."""
    where = str(package.folder)
    if not package.manifest.sealed:
        raise BadInput("it is a finished artifact, nothing is left to build", where=where)
    backend = base.for_target(package.target)
    if not isinstance(backend, base.Sealing) or package.typed is None:
        raise BadInput(f"packages of {package.target} cannot be finished", where=where, hint="build it from the model")
    try:
        base.require(backend)
    except EffcError as error:
        error.where, error.hint = where, backend.missing() or ""
        raise
    return backend


def _copy(package: Artifact, staging: Path) -> None:
    """All that the package's manifest lists; what else lies in the folder is not part of it."""
    for file in package.manifest.files:
        shutil.copy2(package.folder / file.path, staging / file.path)


def _measured(package: Path) -> dict[str, float]:
    """Seconds of the stages before sealing; none where they are not told."""
    try:
        stages: dict[str, float] = json.loads((package / MEASURED_NAME).read_text())["stages_s"]
        return dict(stages)
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def _stated(manifest: Manifest, staging: Path, made: tuple[str, ...]) -> Manifest:
    names = dict.fromkeys((*made, *(file.path for file in manifest.files)))
    versions = base.find()[manifest.target.partition("-")[0]].versions()
    infos = tuple(FileInfo.of(staging, name) for name in names)
    return replace(manifest, files=infos, sealed=False, toolchain={**manifest.toolchain, **versions})


def _verified(staging: Path, manifest: Manifest) -> Manifest:
    """The manifest with the verification of what was made, beside that of its typed ONNX, which may have had labels.

    Where the artifact cannot run here, only the latter is there.
    """
    artifact = Artifact(staging, manifest)
    if artifact.reference is None or not can_run(artifact):
        return manifest
    own = accuracy.verify_carried(artifact, artifact.reference)
    return replace(manifest, verification=own, sealing=manifest.verification)
