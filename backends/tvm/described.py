"""`kernels.json`: what a library's `main` takes and returns, and which ONNX nodes each kernel does."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from effc.core import decode
from effc.core.errors import BadInput

FILE_NAME = "kernels.json"
_MACHINES = {"x86_64": 62, "aarch64": 183}
"""`e_machine` of an ELF file."""


@dataclass(frozen=True)
class Called:
    """One call of a kernel in `main`, in order.

    Attributes:
        kernel: the function's name in the library.
        nodes: ONNX nodes that it does.
        precision: what it computes in.
        scheduled: whether the schedule is ours.
    """

    kernel: str
    op: str
    nodes: tuple[str, ...]
    precision: str
    scheduled: bool


@dataclass(frozen=True)
class Described:
    """The names of `main`'s inputs and outputs, and its calls."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kernels: tuple[Called, ...]

    def write(self, folder: Path) -> None:
        """Put it into the artifact folder."""
        (folder / FILE_NAME).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Described:
        """The inverse of `write`. Raises BadInput where it is not there or damaged."""
        path = folder / FILE_NAME
        try:
            return decode.record(cls, json.loads(path.read_text(encoding="utf-8")), str(path))
        except (OSError, ValueError) as error:
            raise BadInput(f"it cannot be read: {error}", where=str(path), hint="build the artifact again") from error


def is_native(library: Path) -> bool:
    """Whether a shared library is for this process's architecture, by its ELF header."""
    with library.open("rb") as stream:
        header = stream.read(20)
    return header[:4] == b"\x7fELF" and int.from_bytes(header[18:20], "little") == _MACHINES.get(platform.machine())
