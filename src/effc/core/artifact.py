"""An artifact on disk: its folder and its manifest, opened only when whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from effc.core.errors import BadInput
from effc.core.files import sha256
from effc.core.manifest import FILE_NAME, REFERENCE_NAME, TYPED_NAME, FileInfo, Manifest
from effc.core.target import Target


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
                A sealed package opens too: its `main` is None.
        """
        artifact = cls(folder, Manifest.read(folder))
        Target.parse(artifact.manifest.target)
        for file in artifact.manifest.files:
            _check(folder, file)
        if artifact.main is not None and artifact._listed(artifact.main) is None:
            raise BadInput("it lists no file that could run", where=str(folder / FILE_NAME), hint=_REBUILD)
        return artifact

    @property
    def target(self) -> Target:
        """What it was built for."""
        return Target.parse(self.manifest.target)

    @property
    def main(self) -> str | None:
        """Name of the file that the runner loads; None while the artifact is a sealed package."""
        return None if self.manifest.sealed else self.manifest.main

    @property
    def reference(self) -> Path | None:
        """The file of sample inputs and float outputs, where the artifact holds one."""
        return self._listed(REFERENCE_NAME)

    @property
    def typed(self) -> Path | None:
        """The ONNX file that states what the artifact computes, where the artifact holds one."""
        return self._listed(TYPED_NAME)

    @property
    def size(self) -> int:
        """Bytes of the file that the runner loads."""
        return next((file.bytes for file in self.manifest.files if file.path == self.main), 0)

    def _listed(self, name: str) -> Path | None:
        return self.folder / name if any(file.path == name for file in self.manifest.files) else None


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
