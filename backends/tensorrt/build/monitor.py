"""How far a build is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from effc.backends.tensorrt.api import IProgressMonitor, Trt
from effc.backends.tensorrt.logs import derived

Report = Callable[[int, int], None]
PERCENT = 100


@dataclass
class _Phase:
    """A phase under way.

    Attributes:
        inner: how much of the current step is done, 0..1, by the phase within it.
    """

    parent: str
    steps: int
    done: int = 0
    inner: float = 0.0

    @property
    def share(self) -> float:
        """How much of the phase is done, 0..1."""
        return min(1.0, (self.done + self.inner) / self.steps)


@dataclass
class Meter:
    """Nested phases as one number of percent that never falls; the library calls it from several threads.

    A phase within another counts as one step of it. A report that cannot be delivered (its reader is gone) makes
    `step` answer False, which cancels the build.
    """

    report: Report
    phases: dict[str, _Phase] = field(default_factory=dict)
    percent: int = 0
    cancelled: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins."""
        with self.lock:
            self.phases[name] = _Phase(parent or "", max(1, steps))

    def step(self, name: str, step: int) -> bool:
        """A step of a phase, counted from 0, is over; whether to go on."""
        with self.lock:
            if (phase := self.phases.get(name)) is not None:
                phase.done, phase.inner = step + 1, 0.0
                self._tell(phase)
            return not self.cancelled

    def finish(self, name: str) -> None:
        """A phase is over, with all of its steps or not."""
        with self.lock:
            if (phase := self.phases.pop(name, None)) is not None:
                phase.done = phase.steps
                self._tell(phase)

    def _tell(self, phase: _Phase) -> None:
        """Carry a phase's share up to the outermost and report it."""
        while (outer := self.phases.get(phase.parent)) is not None:
            outer.inner, phase = max(outer.inner, phase.share), outer
        if phase.parent or int(PERCENT * phase.share) <= self.percent:
            return
        self.percent = int(PERCENT * phase.share)
        try:
            self.report(self.percent, PERCENT)
        except OSError:
            self.cancelled = True


def progress(trt: Trt, meter: Meter) -> IProgressMonitor:
    """The library's progress monitor that feeds `meter`."""

    def start(_: object, name: str, parent: str | None, steps: int) -> None:
        meter.start(name, parent, steps)

    def step(_: object, name: str, step: int) -> bool:
        return meter.step(name, step)

    def finish(_: object, name: str) -> None:
        meter.finish(name)

    return derived(trt.IProgressMonitor, phase_start=start, step_complete=step, phase_finish=finish)
