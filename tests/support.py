"""What tests of every folder share: the committed models with their labelled data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FIXTURES = Path(__file__).parent / "fixtures"
INPUT = "input"


@dataclass(frozen=True)
class Classifier:
    """A trained model and its data.

    Attributes:
        model: the ONNX file; input `input` float32 [N, 1, 28, 28], output `logits` [N, 10].
        calib: .npz with `input` and `label`, 128 samples of the training part.
        evaluation: the same, 500 samples of the test part.
    """

    name: str
    model: Path
    calib: Path
    evaluation: Path

    def load(self, part: str = "evaluation") -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Samples and labels of `calib` or `evaluation`."""
        with np.load(getattr(self, part)) as data:
            return data[INPUT], data["label"]


@dataclass(frozen=True)
class Norm:
    """Pixel normalization: (x / 255 - mean) / std."""

    mean: float
    std: float

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, 28, 28] bytes to [N, 1, 28, 28] floats."""
        return ((pixels[:, None] / 255.0 - self.mean) / self.std).astype(np.float32)


CLASSIFIERS = {"mnist_minimobile": Norm(0.1307, 0.3081), "fashion_minires": Norm(0.286, 0.353)}


def classifier(name: str, folder: Path) -> Classifier:
    """Write the preprocessed data of a committed model into `folder`."""
    made = Classifier(name, FIXTURES / f"{name}.onnx", folder / f"{name}-calib.npz", folder / f"{name}-eval.npz")
    with np.load(FIXTURES / f"{name}.npz") as raw:
        for part, path in (("calib", made.calib), ("eval", made.evaluation)):
            arrays = {INPUT: CLASSIFIERS[name].apply(raw[part]), "label": raw[f"{part}_label"].astype(np.int64)}
            np.savez(path, **arrays)
    return made


ROOT = Path(__file__).parents[1]
TOP_FOLDERS = ("backends", "bench", "calibration", "compiler")


def sources() -> list[Path]:
    """Every Python file of the project and its tests, each once: links are not followed."""
    folders = (*TOP_FOLDERS, "src", "tests")
    return sorted(path for name in folders for path in (ROOT / name).rglob("*.py") if not _linked(path))


def _linked(path: Path) -> bool:
    return any((ROOT / part).is_symlink() for part in path.relative_to(ROOT).parents)
