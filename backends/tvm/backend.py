"""The TVM backend: libraries of compiled kernels for x86 and ARM CPUs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from effc.backends.base import EmitOptions, Emitted, Feeds, TargetInfo
from effc.backends.tvm.cpu import ARM64, HALF, X86
from effc.core import host
from effc.core.artifact import Artifact
from effc.core.errors import Caution, Refusal
from effc.core.target import Target

if TYPE_CHECKING:
    from effc.backends.explanation import Explanation
    from effc.calibration.scheme import Scheme
    from effc.compiler import ir
    from effc.compiler.passes.precision import Narrowing
    from effc.compiler.phase import Phase

_MODULES = ("tvm", "tvm_ffi")
_PACKAGES = ("apache-tvm", "apache-tvm-ffi")
_INSTALL = "pip install 'effc[tvm]'"
_PRECISIONS = {"fp32": "float32", "int8": "int8 kernels, weights per channel, what has none in float32"}
_DEVICES = {
    "x86": ("this machine's x86-64 CPU, or one that is named", tuple(X86)),
    "arm64": ("64-bit ARM Linux", tuple(ARM64)),
    "armv7": ("32-bit hard-float ARM Linux, experimental: no runtime is published for it", ()),
    "android": ("64-bit ARM Android, experimental: no runtime is published for it", ()),
}


class TvmBackend:
    """`backends.base.Backend` for TVM."""

    name = "tvm"

    def targets(self) -> tuple[TargetInfo, ...]:
        """A target for each device and precision; CPU names are the suffixes."""
        return tuple(_targets())

    def missing(self) -> str | None:
        """The install line when a library is not here."""
        absent = [name for name in _MODULES if importlib.util.find_spec(name) is None]
        return _INSTALL if absent else None

    def versions(self) -> dict[str, str]:
        """TVM's version and that of its calling convention."""
        return host.versions(_PACKAGES)

    def scheme(self, target: Target) -> Scheme | None:
        """Symmetric weights per channel, one scheme for all CPUs."""
        from effc.backends.tvm.scheme import INT8

        return INT8 if target.precision == "int8" else None

    def narrowing(self, target: Target) -> Narrowing | None:
        """float16 for fp16; else floats stay float32."""
        if target.precision != "fp16":
            return None
        from effc.compiler.passes.precision import Narrowing

        return Narrowing("float16")

    def legalize(self, target: Target) -> tuple[Phase, ...]:
        """Float rewrites into the ops that have schedules or that TVM's importer takes."""
        from effc.backends.tvm.legalize import phases

        return phases(target.precision)

    def support(self, model: ir.Model, target: Target) -> tuple[Refusal, ...]:
        """Nodes that neither our schedules nor TVM's importer take, by our own table: no library is needed."""
        del target
        from effc.backends.tvm.support import refusals

        return refusals(model)

    def cautions(self, model: ir.Model, target: Target) -> tuple[Caution, ...]:
        """Nodes that run in TVM's own operators, as their importer and a plain schedule make them."""
        del target
        from effc.backends.tvm.support import unscheduled

        return tuple(unscheduled(model))

    def emit(self, model: ir.Model, target: Target, options: EmitOptions, folder: Path) -> Emitted:
        """Compile and link `model.so` in a child."""
        from effc.backends.tvm.emit import emit

        return emit(model, target, options, folder)

    def runner(self) -> str:
        """TVM's virtual machine: in this process, or for a foreign library under an emulator."""
        return "effc.backends.tvm.runner:runner"

    def explain(self, artifact: Artifact, feeds: Feeds | None) -> Explanation:
        """The library's kernels with their ONNX nodes, timed where it runs here."""
        from effc.backends.tvm.explain import explain

        return explain(artifact, feeds)

    def unrunnable(self, target: Target) -> str | None:
        """A library for another architecture needs an emulator, and effc-run built for it."""
        from effc.backends.tvm.emulated import unrunnable

        return unrunnable(target)


def _targets() -> Iterator[TargetInfo]:
    for device, (summary, suffixes) in _DEVICES.items():
        for precision, words in _PRECISIONS.items():
            yield TargetInfo(f"tvm-{device}-{precision}", f"{words}, for {summary}", suffixes)
    yield TargetInfo("tvm-arm64-fp16", "float16 arithmetic, for 64-bit ARM Linux with +fullfp16", HALF)


BACKENDS = (TvmBackend(),)
