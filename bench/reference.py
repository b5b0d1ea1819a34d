"""`reference.npz`: sample inputs and the float model's outputs, so that an artifact proves itself alone."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from effc.core.errors import BadInput

Array = NDArray[np.generic]

_INPUT, _OUTPUT = "input:", "output:"


@dataclass(frozen=True)
class Reference:
    """Arrays by ONNX name, first axis samples."""

    feeds: Mapping[str, Array]
    outputs: Mapping[str, Array]


def write(path: Path, reference: Reference) -> None:
    """Write it; equal arrays give equal bytes."""
    arrays = {_INPUT + name: array for name, array in reference.feeds.items()}
    arrays |= {_OUTPUT + name: array for name, array in reference.outputs.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)


def read(path: Path) -> Reference:
    """Read it. Raises BadInput when it is damaged or holds no inputs."""
    arrays = load(path)
    reference = Reference(_under(arrays, _INPUT), _under(arrays, _OUTPUT))
    if not reference.feeds:
        raise BadInput("it holds no inputs", where=str(path), hint="build the artifact again")
    return reference


def load(path: Path) -> dict[str, Array]:
    """The arrays of a .npz. Raises BadInput when it is absent, damaged, or of another kind."""
    try:
        with np.load(path, allow_pickle=False) as data:
            return {name: np.asarray(data[name]) for name in data.files}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise BadInput(f"it is not a readable .npz ({error})", where=str(path)) from None


def _under(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
