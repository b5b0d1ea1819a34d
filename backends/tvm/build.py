"""From an ONNX file to `model.so`, inside a child: relax module, object files of the kernels, link."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from effc.backends.tvm.cpu import Cpu
from effc.backends.tvm.described import Called, Described
from effc.backends.tvm.plan.group import Group
from effc.compiler import ir
from effc.core.options import Tuning


@dataclass(frozen=True)
class Job:
    """All that a child needs to make one library.

    Attributes:
        source: the legalized ONNX file, with Q/DQ where it is quantized.
        library: the file to write.
        processes: how many compile kernels at once.
        tuning: the search for tiles; None takes what the databases know.
    """

    source: Path
    library: Path
    cpu: Cpu
    machine: str
    processes: int
    tuning: Tuning | None = None


def build(job: Job) -> None:
    """Write the library and, beside it, `kernels.json`.

    Raises:
        BackendMissing: there is no compiler that links for the machine.
        BackendFailed: the linker refused.
    """
    from effc.backends.tvm import compile, module
    from effc.backends.tvm.search.tune import lowering
    from effc.backends.tvm.toolchain.compilers import link

    model = ir.load(job.source)
    made = module.write(model, job.cpu, lowering(job.cpu, job.machine, job.tuning))
    with tempfile.TemporaryDirectory(prefix="effc-tvm-") as scratch:
        compiled = compile.objects(made.module, job.cpu, Path(scratch), job.processes)
        link(compiled.objects, job.library, job.machine)
    calls = tuple(_called(made.groups.get(name), kernel, ours) for name, kernel, ours in compiled.calls)
    inputs, outputs = (tuple(v.name or "" for v in values) for values in (model.graph.inputs, model.graph.outputs))
    Described(inputs, outputs, calls).write(job.library.parent)


def _called(group: Group | None, kernel: str, ours: bool) -> Called:
    """A call with the nodes of its group; those of TVM's own ops inside a node have none."""
    if group is None:
        return Called(kernel, "", (), "", ours)
    first = group.anchor or group.tail[0]
    kinds = [str(ir.numpy_dtype(v)) for v in (*first.inputs, *first.outputs) if v is not None]
    precision = "int8" if group.head or kinds[0] in ("int8", "uint8") else kinds[-1]
    return Called(kernel, first.op_type, tuple(node.name or "" for node in group.nodes), precision, ours)
