"""`backend[-device]-precision[:suffix[+suffix]]`: the name of what is built."""

from __future__ import annotations

import re
from dataclasses import dataclass

from effc.core.errors import BadInput

_SPELLING = re.compile(r"^[a-z][a-z0-9]*(-[a-z0-9]+){1,2}(:[A-Za-z0-9_.-]+(\+[A-Za-z0-9_.-]+)*)?$")


@dataclass(frozen=True, order=True)
class Target:
    """A deployment target such as `tflite-int8` or `rtx-int8:sm89+sm120`."""

    backend: str
    precision: str
    device: str = ""
    suffixes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read one target. Raises BadInput when the spelling is wrong."""
        if not _SPELLING.match(text):
            raise BadInput(
                f"{text!r} is not a target",
                where="--target",
                hint="write backend[-device]-precision, as in tflite-int8; `effc targets` lists them",
            )
        head, _, tail = text.partition(":")
        backend, *device, precision = head.split("-")
        suffixes = tuple(dict.fromkeys(tail.split("+"))) if tail else ()
        return cls(backend, precision, "".join(device), suffixes)

    @property
    def base(self) -> str:
        """The target without its suffixes."""
        return "-".join(part for part in (self.backend, self.device, self.precision) if part)

    @property
    def folder(self) -> str:
        """The artifact's folder name: `:` and `+` become `-`."""
        return "-".join((self.base, *self.suffixes))

    @property
    def quantized(self) -> bool:
        """Whether activations are quantized, so that calibration data is needed."""
        return self.precision in {"int8", "int16x8", "fp8", "best"}

    def __str__(self) -> str:
        return self.base + (":" + "+".join(self.suffixes) if self.suffixes else "")


def parse_targets(text: str) -> tuple[Target, ...]:
    """Read a comma-separated list, keeping order and dropping repeats."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise BadInput("no target is named", where="--target", hint="for example --target tflite-int8,ort-int8")
    return tuple(dict.fromkeys(Target.parse(name) for name in names))
