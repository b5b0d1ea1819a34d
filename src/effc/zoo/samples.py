"""Labelled samples for zoo models, preprocessed: drawn here, or out of the zoo folder."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from effc.calibration.preprocess import Preprocess
from effc.core.cache import cache_folder
from effc.core.errors import BadInput
from effc.core.files import write_atomic
from effc.zoo.download import FOLDER_VARIABLE, zoo_folder
from effc.zoo.render import DRAWINGS, Pixels, render
from effc.zoo.table import SPLITS, ZooModel

Labels = NDArray[np.int64]
LABEL = "label"
_PARTS = {"calib": "train", "eval": "test"}


def cached(model: ZooModel, split: str, count: int) -> Path:
    """The .npz of these samples in the cache folder, made if it is not there."""
    origin = "folder" if _in_folder(_dataset(model, split)) else "drawn"
    path = cache_folder() / "data" / f"{model.name}-{split}-{count}-{origin}.npz"
    if not path.is_file():
        write(model, split, count, path)
    return path


def write(model: ZooModel, split: str, count: int, path: Path, *, overwrite: bool = True) -> None:
    """Write `count` samples of `split` as .npz: the model's input float32 [count, C, H, W], `label` int64 [count]."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays(model, split, count))
    write_atomic(path, stream.getvalue(), overwrite=overwrite)


def arrays(model: ZooModel, split: str, count: int) -> dict[str, NDArray[np.generic]]:
    """The samples by name; no `label` where the data set has none.

    Raises BadInput for another split, a model without data, or more samples than there are.
    """
    dataset = _dataset(model, split)
    if not dataset:
        raise BadInput("the zoo has no data for this model", where=model.name, hint="`effc zoo list` says which have")
    if count < 1:
        raise BadInput(f"{count} samples are none", where="--count")
    images, labels = _raw(dataset, split, count, shared=model.calib == model.evaluation)
    if len(images) < count:
        raise BadInput(f"{dataset} has {len(images)} samples for {split}, not {count}", where=model.name)
    named: dict[str, NDArray[np.generic]] = {model.input: apply(Preprocess.parse(model.preprocess), images)}
    return named if labels is None else {**named, LABEL: labels}


def _dataset(model: ZooModel, split: str) -> str:
    """Name of the data set that serves `split`. Raises BadInput for another split."""
    if split not in SPLITS:
        raise BadInput(f"there is no split {split!r}", where="--split", hint=f"splits are {', '.join(SPLITS)}")
    return model.calib if split == "calib" else model.evaluation


def _in_folder(dataset: str) -> Path | None:
    """The data set's file in the zoo folder, if it is there."""
    folder = zoo_folder()
    path = folder / "data" / f"{dataset}.npz" if folder else None
    return path if path and path.is_file() else None


def _raw(dataset: str, split: str, count: int, *, shared: bool) -> tuple[Pixels, Labels | None]:
    """Bytes and labels: of the zoo folder if it has them, else drawn."""
    if path := _in_folder(dataset):
        return _read(path, split, count, shared=shared)
    if dataset in DRAWINGS:
        return render(dataset, split, count)
    hint = f"set {FOLDER_VARIABLE} to a folder that holds data/{dataset}.npz"
    raise BadInput("this data is only in a zoo folder", where=dataset, hint=hint)


def _read(path: Path, split: str, count: int, *, shared: bool) -> tuple[Pixels, Labels | None]:
    """At most `count` images and labels of a file with x_train, y_train, x_test, y_test, or with x and maybe y.

    Of the latter the first half is for evaluation and the second for calibration, where both use it; labels that are
    no classes (the text of a line) are left out.
    """
    with np.load(path) as data:
        if "x" not in data:
            part = _PARTS[split]
            return data[f"x_{part}"][:count], data[f"y_{part}"][:count].astype(np.int64)
        images, labels = data["x"], data["y"] if "y" in data and data["y"].dtype.kind in "iu" else None
    half = len(images) // 2
    part_of = slice(None) if not shared else slice(half) if split == "eval" else slice(half, None)
    return images[part_of][:count], None if labels is None else labels[part_of][:count].astype(np.int64)


def apply(preprocess: Preprocess, images: Pixels) -> NDArray[np.float32]:
    """Bytes [N, h, w] or [N, h, w, 3] as the model takes them: float32 [N, C, height, width]."""
    return np.stack([preprocess.array(Image.fromarray(image).convert(preprocess.mode)) for image in images])
