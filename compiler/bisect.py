"""Which step spoils a model: found by halving the list of changes, switched off, and the rest kept."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

from effc.compiler import ir
from effc.compiler.phase import StepFailed, StepRecord
from effc.compiler.proof import Proof
from effc.core.errors import BadInput, EffcError

MOST_FAULTS = 16
"""Steps that may be switched off before the model is given up."""


@dataclass(frozen=True)
class Fault:
    """A step that was switched off for a model, and why."""

    step: str
    reason: str


@dataclass(frozen=True)
class Proved:
    """A model that passed, and the changes that made it; `proof` is None where none was asked for."""

    model: ir.Model
    steps: tuple[StepRecord, ...]
    proof: Proof | None
    faults: tuple[Fault, ...]


Make = Callable[[Set[str], int | None], tuple[ir.Model, tuple[StepRecord, ...]]]
"""Makes a model from its source, without the named steps, and with so many changes at most."""
Finish = Callable[[ir.Model], tuple[ir.Model, Proof | None]]
"""The model as it is to be written, compared with its source.

Raises EffcError where it is not equal or not sound, BadInput where the source itself cannot be run.
"""


def prove_steps(make: Make, finish: Finish) -> Proved:
    """Make and finish, and switch off one step after the other for as long as that fails.

    A step that breaks is known at once. One that changes outputs is the one behind the shortest run of changes that
    fails. Raises the last failure where even a model without changes fails, or where too many steps do.
    """
    faults: list[Fault] = []
    while True:
        off = frozenset(fault.step for fault in faults)
        try:
            made, steps = make(off, None)
            model, proof = finish(made)
            return Proved(model, steps, proof, tuple(faults))
        except BadInput:
            raise
        except EffcError as error:
            step = error.step if isinstance(error, StepFailed) else _culprit(make, finish, off)
            if step is None or len(faults) == MOST_FAULTS:
                raise
            faults.append(Fault(step, f"{error.where}: {error.what}" if error.where else error.what))


def _culprit(make: Make, finish: Finish, off: Set[str]) -> str | None:
    """The step of the first change after which the model fails; None where none can be found."""
    good, bad = 0, 1
    if _fails(make, finish, off, 0):
        return None
    while not _fails(make, finish, off, bad):
        good, bad = bad, 2 * bad
        if good > len(make(off, good)[1]):
            return None
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (good, middle) if _fails(make, finish, off, middle) else (middle, bad)
    return make(off, bad)[1][-1].step


def _fails(make: Make, finish: Finish, off: Set[str], most: int) -> bool:
    try:
        finish(make(off, most)[0])
    except EffcError:
        return True
    return False
