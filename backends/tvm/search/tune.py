"""A small search: for each workload not yet known, the best ranked tiles are timed, for seconds in all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import tvm

from effc.backends.tvm.compile import kernels_library
from effc.backends.tvm.cpu import Cpu
from effc.backends.tvm.ops.table import Family, Site
from effc.backends.tvm.plan import symbols
from effc.backends.tvm.plan.group import Group
from effc.backends.tvm.plan.placed import Dim, Placed
from effc.backends.tvm.schedules.nest import Kernel
from effc.backends.tvm.search.choices import Database, Lowering, database
from effc.backends.tvm.search.device import Opened, local, remote
from effc.core.options import Tuning

T = TypeVar("T")
CANDIDATES = 6
_ROUNDS = 7
_CALL_S = 2e-3
"""How long one timed stretch lasts."""

Open = Callable[[Any], AbstractContextManager[Opened]]


def lowering(cpu: Cpu, machine: str, tuning: Tuning | None) -> Lowering:
    """How kernels get their tiles: what is known of this CPU, and what a search adds to it."""
    known = database(cpu)
    if tuning is None:
        return lambda family, group, site: family.lower(group, replace(site, choices=known))
    opened = local if tuning.tracker is None else partial(remote, tuning.tracker, machine)
    return Tuner(cpu, known, opened, tuning.budget_s).lower


@dataclass
class _Probe:
    """Takes what is known, else the candidate at a place; tells what there was to choose from."""

    known: Database
    place: int = 0
    workload: str = ""
    candidates: list[str] = field(default_factory=list)

    def choose(self, workload: str, candidates: Sequence[T]) -> T:
        self.workload, self.candidates = workload, [str(c) for c in candidates]
        return self.known.choose(workload, candidates) if workload in self.known else candidates[self.place]


@dataclass
class Tuner:
    """Lowers groups as the fastest of their candidates, timing those that the database does not know.

    Attributes:
        open: loads a library where its kernels are timed.
        budget_s: when it is used up the ranking decides; what was measured stays in the database.
    """

    cpu: Cpu
    known: Database
    open: Open
    budget_s: float
    started: float = field(default_factory=time.monotonic)

    def lower(self, family: Family, group: Group, site: Site) -> Kernel:
        """The group's kernel."""
        probe = _Probe(self.known)
        first = family.lower(group, replace(site, choices=probe))
        spent = time.monotonic() - self.started
        if len(probe.candidates) < 2 or probe.workload in self.known or spent > self.budget_s:
            return first
        places = range(1, min(CANDIDATES, len(probe.candidates)))
        kernels = [first, *(family.lower(group, replace(site, choices=_Probe(self.known, i))) for i in places)]
        fastest = int(np.argmin(self.measure(kernels)))
        self.known.learn(probe.workload, probe.candidates[fastest])
        return kernels[fastest]

    def measure(self, kernels: Sequence[Kernel]) -> list[float]:
        """Median seconds of each kernel, timed in turns."""
        with self.open(kernels_library([kernel.function for kernel in kernels], self.cpu)) as (library, device):
            given = [_arguments(kernel, device) for kernel in kernels]

            def seconds(place: int, number: int) -> float:
                timed = library.time_evaluator(f"kernel{place}", device, number=number)
                return float(timed(*given[place]).mean)

            counts = [max(1, int(_CALL_S / max(seconds(i, 1), 1e-7))) for i in range(len(kernels))]
            rounds = [[seconds(i, count) for i, count in enumerate(counts)] for _ in range(_ROUNDS)]
        return [float(median) for median in np.median(np.asarray(rounds), axis=0)]


def _arguments(kernel: Kernel, device: Any) -> list[Any]:
    """Seeded inputs, the real constants, room for the outputs."""
    seeded = np.random.default_rng(0)

    def tensor(placed: Placed) -> Any:
        dims = [_as_one(d) for d in placed.memory]
        dtype = np.dtype(placed.dtype)
        if dtype.kind == "f":
            return tvm.runtime.tensor(seeded.standard_normal(dims).astype(dtype), device)
        return tvm.runtime.tensor(seeded.integers(0, 100, dims).astype(dtype), device)

    constants = [tvm.runtime.tensor(array, device) for array in kernel.constants]
    return [*map(tensor, kernel.inputs), *constants, *map(tensor, kernel.outputs)]


def _as_one(dim: Dim) -> int:
    """The dim for a batch of one."""
    return dim if isinstance(dim, int) else int(symbols.evaluate(dim, dict.fromkeys(symbols.names(dim), 1)))
