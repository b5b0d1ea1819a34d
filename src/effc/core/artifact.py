"""An artifact on disk: its folder and its manifest, opened only when whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from effc.core.errors import BadInput
from effc.core.files import sha256
from effc.core.manifest import FILE_NAME, QUANTIZED_NAME, REFERENCE_NAME, FileInfo, Manifest
from effc.core.target import Target

_BESIDE = frozenset({REFERENCE_NAME, QUANTIZED_NAME})


@dataclass(frozen=True)
class Artifact:
    """A folder and what its manifest says. The constructor checks nothing; `open` does."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> Artifact:
        """Read the manifest and check every file that it lists.

        Raises:
            BadInput: no manifest, a damaged one, a file absent, or of another size or hash; it is named.
        """
        artifact = cls(folder, Manifest.read(folder))
        Target.parse(artifact.manifest.target)
        for file in artifact.manifest.files:
            _check(folder, file)
        if artifact.main is None:
            raise BadInput("it lists no file that could run", where=str(folder / FILE_NAME), hint=_REBUILD)
        return artifact

    @property
    def target(self) -> Target:
        """What it was built for."""
        return Target.parse(self.manifest.target)

    @property
    def main(self) -> str | None:
        """Name of the file that the runner loads: the first that is neither the reference nor the QDQ graph."""
        return next((file.path for file in self.manifest.files if file.path not in _BESIDE), None)

    @property
    def reference(self) -> Path | None:
        """The file of sample inputs and float outputs, where the artifact holds one."""
        listed = any(file.path == REFERENCE_NAME for file in self.manifest.files)
        return self.folder / REFERENCE_NAME if listed else None

    @property
    def size(self) -> int:
        """Bytes of the file that the runner loads."""
        return next((file.bytes for file in self.manifest.files if file.path == self.main), 0)


_REBUILD = "build the artifact again"


def _check(folder: Path, file: FileInfo) -> None:
    path = folder / file.path
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadInput("it lies outside the artifact", where=str(path), hint=_REBUILD)
    if not path.is_file():
        raise BadInput("the file is missing", where=str(path), hint=_REBUILD)
    size = path.stat().st_size
    if size != file.bytes:
        raise BadInput(f"it has {size} bytes, the manifest says {file.bytes}", where=str(path), hint=_REBUILD)
    if sha256(path) != file.sha256:
        raise BadInput("its contents are not those that the manifest names", where=str(path), hint=_REBUILD)
