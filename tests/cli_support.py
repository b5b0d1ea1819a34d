"""What the command line's tests share: a command's outcome, and what was built."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import support


@dataclass(frozen=True)
class Ran:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as JSON; it must be nothing else."""
        return json.loads(self.out)


Command = Callable[..., Ran]
Fill = Callable[[str], list[str]]


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of an artifact's files, but those that no two builds share."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "measured.json"}


@dataclass(frozen=True)
class Built:
    """The folder that `effc build` wrote, the exit code, and the model's own files."""

    folder: Path
    code: int
    model: support.Classifier

    def words(self, *more: object) -> Sequence[object]:
        """The command line that built it, plus more words."""
        model = self.model
        return ("build", model.model, "--calib", model.calib, "--eval", model.evaluation, "-o", self.folder, *more)
