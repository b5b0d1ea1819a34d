"""From a relax module to a shared library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tvm
from tvm import relax, s_tir, tirx
from tvm.relax import vm_build
from tvm.tirx import compilation_pipeline

from effc.backends.tvm import forks
from effc.backends.tvm.cpu import Cpu
from effc.backends.tvm.schedules.generic import scheduled

OURS = "effc.scheduled"
"""The attribute of functions with a schedule of ours."""
_PIPELINE = "effc"
_LLVM_OPTIONS = ("-vectorize-loops=0",)
"""LLVM 22 vectorizes some loops over remainders wrongly (a Tile on AVX-512 reads beyond its input). Schedules are
vectorized already, and lose nothing.
"""


def library(module: tvm.IRModule, cpu: Cpu) -> relax.VMExecutable:
    """The module compiled for `cpu`."""
    _register()
    target = llvm_target(cpu)
    with target, tvm.transform.PassContext(opt_level=3):
        fused = _scheduled(tvm.transform.Sequential(_fusion())(module))
        lowered = tvm.transform.Sequential(_program())(fused)
        return relax.build(lowered, target=target, relax_pipeline=None, tir_pipeline=_PIPELINE)


@dataclass(frozen=True)
class Compiled:
    """What is to be linked.

    Attributes:
        objects: one file of each kernel, one of the program and its constants.
        calls: (variable, kernel, whether its schedule is ours) of each call in `main`, in order.
    """

    objects: tuple[Path, ...]
    calls: tuple[tuple[str, str, bool], ...]


def objects(module: tvm.IRModule, cpu: Cpu, folder: Path, processes: int) -> Compiled:
    """The module as object files in `folder`.

    Kernels are compiled by several processes, each into its own file: most of a build is LLVM's time.
    """
    _register()
    target, builder = llvm_target(cpu), relax.ExecBuilder()
    with target, tvm.transform.PassContext(opt_level=3):
        fused = _scheduled(tvm.transform.Sequential(_fusion())(module))
        rest = vm_build._vmcodegen(builder, tvm.transform.Sequential(_program())(fused))
    kernels = sorted((v.name_hint, f) for v, f in rest.functions.items() if isinstance(f, tirx.PrimFunc))
    paths = [folder / f"{i}.o" for i in range(len(kernels))]

    def compile_one(i: int) -> None:
        name, function = kernels[i]
        made = tvm.tirx.build(tvm.IRModule({name: function}), target=target, pipeline=_PIPELINE)
        made.write_to_file(str(paths[i]))

    forks.shared(compile_one, len(kernels), processes)
    held = [tvm.runtime.load_static_library(str(path), [name]) for path, (name, _) in zip(paths, kernels, strict=True)]
    program = vm_build._vmlink(builder, target, ext_libs=held)
    packed = tvm.get_global_func("runtime.ModulePackImportsToLLVM")(program.mod, False, str(target), "")
    packed.write_to_file(str(folder / "program.o"))
    return Compiled((*paths, folder / "program.o"), tuple(_calls(fused)))


def _scheduled(module: tvm.IRModule) -> tvm.IRModule:
    """The module with a plain schedule for each kernel that has none of ours."""
    for name, function in list(module.functions.items()):
        if isinstance(function, tirx.PrimFunc) and OURS not in function.attrs:
            module.update_func(name, scheduled(function))
    return module


def _calls(module: tvm.IRModule) -> Iterator[tuple[str, str, bool]]:
    """(variable, kernel, whether its schedule is ours) of each kernel that `main` calls."""
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            value = binding.value
            if isinstance(value, relax.Call) and value.op.same_as(tvm.ir.Op.get("relax.call_tir")):
                kernel = value.args[0]
                yield binding.var.name, kernel.name_hint, OURS in module[kernel].attrs


def kernels_library(functions: Sequence[tirx.PrimFunc], cpu: Cpu) -> tvm.runtime.Module:
    """Single kernels, callable as `kernel0`, `kernel1`, ..., compiled for `cpu`."""
    _register()
    named = {f"kernel{i}": f.with_attr("global_symbol", f"kernel{i}") for i, f in enumerate(functions)}
    return tvm.tirx.build(tvm.IRModule(named), target=llvm_target(cpu), pipeline=_PIPELINE)


def llvm_target(cpu: Cpu) -> tvm.target.Target:
    """TVM's description of the CPU."""
    return tvm.target.Target(
        {
            "kind": "llvm",
            "mtriple": cpu.triple,
            "mcpu": cpu.name,
            "mattr": list(cpu.features),
            "cl-opt": list(_LLVM_OPTIONS),
        }
    )


def _fusion() -> list[tvm.transform.Pass]:
    """Every op becomes a kernel, constant ones a constant; those without a schedule get one."""
    change = relax.transform
    return [
        change.LegalizeOps(),
        change.AnnotateTIROpPattern(),
        change.FoldConstant(),
        change.FuseOps(),
        change.FuseTIR(),
        change.DeadCodeElimination(),
    ]


def _program() -> list[tvm.transform.Pass]:
    """`main` becomes calls with planned memory."""
    change = relax.transform
    return [
        change.RewriteDataflowReshape(),
        change.ToNonDataflow(),
        change.RemovePurityChecking(),
        change.CallTIRRewrite(),
        change.StaticPlanBlockMemory(),
        change.LowerAllocTensor(),
        change.KillAfterLastUse(),
        change.LowerRuntimeBuiltin(),
        change.ComputePrimValue(),
        change.VMShapeLower(),
        change.AttachGlobalSymbol(),
    ]


@cache
def _register() -> None:
    """Our lowering of TIR: TVM's own without StorageRewrite, which would move registers to the heap."""
    finish = (compilation_pipeline.finalize_host_passes, compilation_pipeline.finalize_device_passes)
    compilation_pipeline.register_tir_pipeline(_PIPELINE, lambda: (_lowering(), *finish))


def _lowering() -> tvm.transform.Pass:
    return tvm.transform.Sequential(
        [
            s_tir.transform.CanonicalizeLoop(),
            s_tir.transform.LowerInitBlock(),
            s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
            s_tir.transform.ConvertBlocksToOpaque(),
            s_tir.transform.CompactBufferAllocation(),
            s_tir.transform.LowerMatchBuffer(),
            s_tir.transform.LowerOpaqueBlock(),
            tirx.transform.FlattenBuffer(),
            tirx.transform.BF16ComputeLegalize(),
            tirx.transform.NarrowDataType(32),
            tirx.transform.VectorizeLoop(True),
            tirx.transform.UnrollLoop(),
            tirx.transform.StmtSimplify(),
            tirx.transform.RemoveNoOp(),
            tirx.transform.CommonSubexprElim(),
            tirx.transform.VerifyMemory(),
            tirx.transform.AnnotateEntryFunc(),
            tirx.transform.SplitHostDevice(),
            tirx.transform.MakePackedAPI(),
        ]
    )


def export(executable: relax.VMExecutable, path: Path) -> None:
    """Write the shared library."""
    executable.export_library(str(path))
