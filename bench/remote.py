"""A backend's runner in a child process, pinned to as many CPUs as it has threads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from effc.backends import base
from effc.core import host
from effc.core.artifact import Artifact
from effc.core.errors import BackendMissing, BadInput
from effc.core.manifest import TYPED_NAME
from effc.core.worker import DEADLINE_S, Worker

Array = NDArray[np.generic]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TVM_NUM_THREADS")
_NAME = "runner"


@dataclass(frozen=True)
class RemoteRunner:
    """The `Runner` contract, answered by an object in the child."""

    worker: Worker

    def run(self, feeds: base.Feeds) -> dict[str, Array]:
        """One inference; feeds and outputs in the artifact's own form."""
        outputs: dict[str, Array] = self.worker.method(_NAME, "run", dict(feeds))
        return outputs

    def measure(self, feeds: base.Feeds, iterations: int) -> base.Timing:
        """`iterations` inferences timed inside the child."""
        timing: base.Timing = self.worker.method(_NAME, "measure", dict(feeds), iterations)
        return timing

    def throughput(self, feeds: base.Feeds, streams: int, seconds: float) -> float:
        """Samples a second with `streams` batches in flight; only for runners that have `streams`."""
        found: float = self.worker.method(_NAME, "throughput", dict(feeds), streams, seconds)
        return found

    @property
    def streams(self) -> bool:
        """Whether the runner keeps several batches in flight: it has a method `throughput`."""
        return "throughput" in self.worker.method(_NAME, "__dir__")

    def facts(self) -> Mapping[str, float | int | str]:
        """What the runtime tells of itself."""
        facts: dict[str, float | int | str] = self.worker.method(_NAME, "facts")
        return facts


@contextmanager
def open_runner(artifact: Artifact, threads: int = 1) -> Iterator[RemoteRunner]:
    """Load the artifact in a child of its own, which ends with the block.

    Raises:
        BadInput: the artifact is a sealed package.
        BackendMissing: the backend's libraries, or the device that its artifacts need, are not here.
        BackendFailed: the library failed, crashed or ran out of time.
    """
    backend = base.for_target(artifact.target)
    if artifact.main is None:
        hint = f"`effc build {artifact.folder}` on the machine that it is for finishes it"
        raise BadInput("it is a sealed package, not yet an artifact", where=str(artifact.folder), hint=hint)
    base.require(backend)
    if (reason := backend.unrunnable(artifact.target)) is not None:
        typed = "; `effc verify` checks its typed ONNX here" if artifact.typed is not None else ""
        hint = f"run it on a machine that has one{typed}"
        raise BackendMissing(f"{artifact.target} cannot run here: {reason}", where=str(artifact.folder), hint=hint)
    arguments = (artifact.folder, artifact.main, threads)
    with open_child(f"run {artifact.target}", backend.runner(), arguments, threads) as runner:
        yield runner


@contextmanager
def open_typed(artifact: Artifact, threads: int = 1) -> Iterator[RemoteRunner]:
    """What the artifact computes, run as ONNX on the CPU: its proof where it cannot run itself. Not for timing."""
    arguments = (artifact.folder, TYPED_NAME, threads)
    with open_child(f"run {artifact.target}", "effc.bench.typed:TypedRunner", arguments, threads) as runner:
        yield runner


def can_run(artifact: Artifact) -> bool:
    """Whether the artifact itself can run on this machine."""
    backend = base.for_target(artifact.target)
    return artifact.main is not None and backend.missing() is None and backend.unrunnable(artifact.target) is None


@contextmanager
def open_child(
    stage: str, runner: str, arguments: tuple[object, ...], threads: int, deadline: float = DEADLINE_S
) -> Iterator[RemoteRunner]:
    """`module:Class` made with `arguments` in a child of its own, which is pinned to as many CPUs as it has threads."""
    limits = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    with Worker(stage, deadline=deadline, env=limits) as worker:
        worker.call("effc.bench.remote:pin", threads)
        worker.make(_NAME, runner, *arguments)
        yield RemoteRunner(worker)


def pin(threads: int) -> tuple[int, ...]:
    """Bind this process to its last `threads` CPUs, where the system allows it; the CPUs it may use then.

    The last ones, since the first tends to serve the interrupts.
    """
    if hasattr(os, "sched_setaffinity"):
        try:
            os.sched_setaffinity(0, host.cpus()[-threads:])
        except OSError:
            return host.cpus()
    return host.cpus()
