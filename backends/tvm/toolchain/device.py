"""Run an artifact of another machine: effc-run behind a transport, here an emulator.

A transport is the words before a command that make it run there; tensors pass through its stdin and stdout.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from effc.backends.tvm.toolchain.bundle import bundle
from effc.backends.tvm.toolchain.machines import Machine, for_target, named
from effc.core.artifact import Artifact
from effc.core.errors import BackendFailed, BackendMissing, BadInput
from effc.core.manifest import TensorInfo
from effc.core.target import Target

Array = NDArray[np.generic]
Feeds = Mapping[str, Array]

CPU = "neoverse-n1"
"""An ARMv8.2 with dot products and half precision: what targets that name no CPU are built for."""
_EMULATED = ("cortex-a53", "cortex-a72", "cortex-a76", CPU)
"""CPUs that every qemu since 7.2 knows; others become the one that can do everything."""
DEADLINE_S = 1800.0
_PREFIX = "QEMU_LD_PREFIX"
_STAGE = "run on a device"


def host(machine: str) -> str:
    """What a manifest's verification says of where the artifact ran: "native" or "qemu"."""
    return "native" if named(machine).native else "qemu"


def transport(machine: str, cpu: str = CPU) -> tuple[str, ...]:
    """The words that make a program of `machine` run here: none where it is this one, else qemu's.

    Raises BackendMissing without the emulator or the C and C++ libraries of the machine.
    """
    wanted = named(machine)
    if wanted.native:
        return ()
    program = f"qemu-{machine}"
    if shutil.which(program) is None:
        raise BackendMissing(
            f"no {program}, which runs {wanted.device} programs here", where=_STAGE, hint=_line(wanted)
        )
    return (program, "-cpu", cpu, *_sysroot(wanted))


def run(artifact: Artifact, calls: Sequence[Feeds], threads: int = 1, cpu: str = "") -> list[dict[str, Array]]:
    """Outputs of each call; neighbours of one shape share a process. Feeds are in the artifact's own form.

    Args:
        cpu: what is emulated; the CPU that the target names unless given.

    Raises:
        BackendMissing: no emulator, or nothing to build effc-run with.
        BackendFailed: effc-run failed or crashed.
    """
    machine = for_target(artifact.target).name
    command = [
        *transport(machine, cpu or _cpu(artifact.target)),
        str(bundle(machine).runner),
        str(artifact.folder),
        "--threads",
        str(threads),
    ]
    command += ["--input", "-", "--output", "-"]
    outputs: list[dict[str, Array]] = []
    for _, group in itertools.groupby(calls, key=lambda feeds: _dims(artifact.manifest.inputs, feeds)):
        outputs += _several(command, artifact, list(group))
    return outputs


def _cpu(target: Target) -> str:
    if not target.suffixes:
        return CPU
    return target.suffixes[0] if target.suffixes[0] in _EMULATED else "max"


def _several(command: list[str], artifact: Artifact, calls: list[Feeds]) -> list[dict[str, Array]]:
    """Calls of one shape in one process."""
    inputs = artifact.manifest.inputs
    dims = _dims(inputs, calls[0])
    free = [info.shape[0] for info in inputs if info.shape and isinstance(info.shape[0], str)]
    batch = ["--batch", str(dims[str(free[0])])] if free else []
    sent = b"".join(np.ascontiguousarray(feeds[info.name]).tobytes() for feeds in calls for info in inputs)
    stream, found = memoryview(_communicate([*command, *batch], sent)), []
    for _ in calls:
        outputs, stream = _split(stream, artifact.manifest.outputs, dims)
        found.append(outputs)
    return found


def _split(
    stream: memoryview, infos: Sequence[TensorInfo], dims: Mapping[str, int]
) -> tuple[dict[str, Array], memoryview]:
    """One call's outputs off the front of what effc-run wrote, and the rest."""
    outputs: dict[str, Array] = {}
    for info in infos:
        dtype, shape = np.dtype(info.dtype), [dim if isinstance(dim, int) else dims[dim] for dim in info.shape]
        size = dtype.itemsize * int(np.prod(shape))
        if len(stream) < size:
            raise BackendFailed(f"output {info.name!r} is cut short", stage=_STAGE)
        outputs[info.name] = np.frombuffer(stream[:size], dtype).reshape(shape).copy()
        stream = stream[size:]
    return outputs, stream


def _dims(infos: Sequence[TensorInfo], feeds: Feeds) -> dict[str, int]:
    """What the symbols of the inputs stand for."""
    pairs = ((dim, size) for info in infos for dim, size in zip(info.shape, feeds[info.name].shape, strict=True))
    return {dim: size for dim, size in pairs if isinstance(dim, str)}


def _communicate(command: list[str], sent: bytes) -> bytes:
    try:
        done = subprocess.run(command, input=sent, capture_output=True, timeout=DEADLINE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BackendFailed(f"effc-run took over {DEADLINE_S:g} s", stage=_STAGE) from error
    log = done.stderr.decode(errors="replace").strip()
    if done.returncode == BadInput.exit_code:
        raise BadInput(log, where=_STAGE)
    if done.returncode:
        raise BackendFailed(f"effc-run ended with {done.returncode}: {log[-2000:]}", stage=_STAGE, log=log)
    return done.stdout


def _sysroot(machine: Machine) -> tuple[str, ...]:
    """Where the emulator finds the machine's libraries: as its own variable says, else where Debian puts them."""
    if os.environ.get(_PREFIX):
        return ()
    folder = Path("/usr", machine.compilers[0].rstrip("-"))
    if not list(folder.glob("lib/libstdc++.so.6")):
        what = f"{folder} has no C++ library for {machine.device} programs"
        raise BackendMissing(what, where=_STAGE, hint=f"{_line(machine)}, or set {_PREFIX}")
    return ("-L", str(folder))


def _line(machine: Machine) -> str:
    return f"apt-get install qemu-user {machine.package}"
