"""Emission: the interface that the model states, and the library that a child compiles."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from effc.backends.base import EmitOptions, Emitted
from effc.backends.tvm.build import Job
from effc.backends.tvm.cpu import Cpu, for_target
from effc.backends.tvm.cpu import host as own_cpu
from effc.backends.tvm.described import FILE_NAME as KERNELS
from effc.backends.tvm.toolchain import machines
from effc.backends.tvm.toolchain.compilers import compiler
from effc.compiler import ir
from effc.core import host, worker
from effc.core.errors import BadInput
from effc.core.options import Tuning
from effc.core.target import Target

FILE_NAME = "model.so"
DEADLINE_S = 1800.0
_SOURCE = "model.onnx"
_CALL = "effc.backends.tvm.build:build"


def emit(model: ir.Model, target: Target, options: EmitOptions, folder: Path) -> Emitted:
    """Write `model.so`. With `options.child` it is compiled there, else in a child whose memory is the same every time.

    TVM and LLVM order some of what they emit by address, so that only the latter gives equal bytes.

    Raises:
        BackendMissing: no compiler here links for the CPU; the hint is the line that installs one.
        BackendFailed: TVM or the linker failed, crashed or ran out of time.
    """
    cpu, machine = for_target(target), machines.for_target(target).name
    compiler(machine)
    with tempfile.TemporaryDirectory(prefix="effc-tvm-") as name:
        scratch = Path(name)
        ir.save(model, scratch / _SOURCE)
        where = Path() if options.child is None else scratch
        job = Job(where / _SOURCE, where / FILE_NAME, cpu, machine, len(host.cpus()), _tuning(options, cpu))
        if options.child is not None:
            options.child.call(_CALL, job)
        else:
            worker.call(_CALL, job, stage=f"build {target}", deadline=DEADLINE_S, fixed=scratch)
        for file in (FILE_NAME, KERNELS):
            shutil.move(scratch / file, folder / file)
    graph = model.graph
    made_for = {"cpu": cpu.name, "cpu_requires": " ".join(cpu.requires)}
    files = (FILE_NAME, KERNELS)
    return Emitted(FILE_NAME, files, ir.infos(graph.inputs), ir.infos(graph.outputs), toolchain=made_for)


def _tuning(options: EmitOptions, cpu: Cpu) -> Tuning | None:
    """The search that was asked for. Raises BadInput where it needs a device that nobody named."""
    wanted = options.tuning
    if wanted is not None and wanted.tracker is None and cpu != own_cpu():
        hint = "add --rpc host:port,key of a tracker that lends such a device"
        raise BadInput(
            f"{cpu.name} is not this machine's CPU, so nothing can be measured here", where="--tune", hint=hint
        )
    return wanted
