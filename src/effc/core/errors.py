"""The errors that reach a user. Each says what happened, where, and what to do, and owns an exit code."""

from __future__ import annotations

import errno
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

_LONGEST = 2000


def brief(text: str, longest: int = _LONGEST) -> str:
    """The text without its middle where it is very long: names in model files may have any length."""
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 2 :]}"


class EffcError(Exception):
    """Base of all reported errors.

    Args:
        what: one sentence on what is wrong.
        where: the file, node, tensor or stage concerned.
        hint: what the user can do about it.
    """

    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "internal error"

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(brief(what))
        self.what, self.where, self.hint = brief(what), brief(where), brief(hint)

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        return "\n".join(lines + ([f"  hint: {self.hint}"] if self.hint else []))

    def place(self, where: str) -> None:
        """Let it say where it was: a file before the node that it names, unless it names the file already."""
        if where not in self.where:
            self.where = brief(f"{where} {self.where}".strip())

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (type(self), self.__dict__, self.args)


def _restore(cls: type[EffcError], state: dict[str, object], args: tuple[object, ...]) -> EffcError:
    """Rebuild an error that crossed a process boundary, whatever its constructor takes."""
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


def unforeseen(error: Exception, *, where: str = "") -> EffcError:
    """An error that nobody reported, as one that can be: its traceback goes to a file that the hint names.

    A disk that is full may show anywhere, and is the user's to mend.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "make room; TMPDIR says where temporary files go"
        return BadInput("no room is left on the disk", where=where or error.filename or "", hint=hint)
    with tempfile.NamedTemporaryFile("w", prefix="effc-error-", suffix=".log", delete=False) as stream:
        traceback.print_exception(error, file=stream)
    hint = f"the traceback is in {stream.name}; please report it"
    reported = EffcError(f"{type(error).__name__}: {error}", where=where, hint=hint)
    reported.__cause__ = error
    return reported


class BadInput(EffcError):
    """Usage or input is wrong: a flag, a model file, a data file."""

    exit_code = 2
    kind = "bad input"


@dataclass(frozen=True)
class Remark:
    """What is to be said of one node, and what a person can do about it."""

    node: str
    op: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.op} {self.node!r}: {self.reason}" + (f" ({self.hint})" if self.hint else "")


class Refusal(Remark):
    """One node that a target cannot take, and why."""


class Caution(Remark):
    """One node that a target takes, but slowly or in float32, and why."""


class UnsupportedOps(EffcError):
    """Nodes without a lowering, all of them at once."""

    exit_code = 3
    kind = "unsupported"

    def __init__(self, target: str, refusals: Sequence[Refusal], *, where: str = "") -> None:
        self.target, self.refusals = target, tuple(refusals)
        listing = "\n".join(f"  - {refusal}" for refusal in self.refusals)
        super().__init__(
            f"{target} cannot take {len(self.refusals)} node(s):\n{listing}",
            where=where,
            hint="`effc check MODEL --target ...` lists what each target supports",
        )


class GateFailed(EffcError):
    """An accuracy or latency gate that the user set is not met."""

    exit_code = 4
    kind = "gate not met"


class BackendMissing(EffcError):
    """A backend's library is not installed; the hint is the exact install line."""

    exit_code = 5
    kind = "backend not installed"


class BackendFailed(EffcError):
    """A vendor library failed, crashed or ran out of time in its child process."""

    exit_code = 6
    kind = "backend failed"

    def __init__(self, what: str, *, stage: str = "", log: str = "", hint: str = "") -> None:
        super().__init__(what, where=stage, hint=hint)
        self.stage, self.log = stage, log
