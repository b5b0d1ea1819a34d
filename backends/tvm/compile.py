"""From a relax module to a shared library."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import tvm
from tvm import relax, s_tir, tirx
from tvm.tirx import compilation_pipeline

from effc.backends.tvm.cpu import Cpu

_PIPELINE = "effc"


def library(module: tvm.IRModule, cpu: Cpu) -> relax.VMExecutable:
    """The module compiled for `cpu`."""
    _register()
    target = llvm_target(cpu)
    with target, tvm.transform.PassContext(opt_level=3):
        lowered = tvm.transform.Sequential(_passes())(module)
        return relax.build(lowered, target=target, relax_pipeline=None, tir_pipeline=_PIPELINE)


def kernels_library(functions: Sequence[tirx.PrimFunc], cpu: Cpu) -> tvm.runtime.Module:
    """Single kernels, callable as `kernel0`, `kernel1`, ..., compiled for `cpu`."""
    _register()
    named = {f"kernel{i}": f.with_attr("global_symbol", f"kernel{i}") for i, f in enumerate(functions)}
    return tvm.tirx.build(tvm.IRModule(named), target=llvm_target(cpu), pipeline=_PIPELINE)


def llvm_target(cpu: Cpu) -> tvm.target.Target:
    """TVM's description of the CPU."""
    return tvm.target.Target(
        {"kind": "llvm", "mtriple": cpu.triple, "mcpu": cpu.name, "mattr": list(cpu.features)}
    )


def _passes() -> list[tvm.transform.Pass]:
    change = relax.transform
    return [
        change.LegalizeOps(),
        change.AnnotateTIROpPattern(),
        change.FoldConstant(),
        change.FuseOps(),
        change.FuseTIR(),
        change.DeadCodeElimination(),
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
