"""Who compiles and links for a machine: its own compiler, the distribution's cross compiler, or zig."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from effc.backends.tvm.toolchain.machines import Machine, named
from effc.core.errors import BackendFailed, BackendMissing
from effc.core.files import writing

DEADLINE_S = 300.0
_STAGE = "link"
_FLAGS = ("-shared", "-fPIC", "-s", "-Wl,--build-id=none", "-Wl,-z,noexecstack")
"""Symbols and build id are left out: they would tell of temporary paths, and the same objects give the same bytes."""


@dataclass(frozen=True)
class Compiler:
    """Commands that compile, and link when given objects.

    Attributes:
        c, cxx: the commands for C and for C++.
        zig: zig's program where it is the one.
    """

    c: tuple[str, ...]
    cxx: tuple[str, ...]
    zig: Path | None = None

    def version(self) -> str:
        """What it calls itself; it decides the bytes that it links, and so belongs into the manifest."""
        command = [str(self.zig), "version"] if self.zig else [*self.c, "--version"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return ("zig " if self.zig else "") + said.stdout.partition("\n")[0]


def compiler(machine: str) -> Compiler:
    """The first that is here of: the machine's own compiler, a cross compiler, zig.

    Raises:
        BadInput: nobody links for `machine`.
        BackendMissing: none is here; the hint is the line that installs one.
    """
    wanted = named(machine)
    return _installed(wanted) or _zig(wanted) or _missing(wanted)


def link(objects: Sequence[Path], out: Path, machine: str) -> None:
    """A shared library of the object files; the same objects in the same order give the same bytes.

    Raises:
        BadInput: `out` cannot be written.
        BackendMissing: there is no compiler for `machine`.
        BackendFailed: the linker refused.
    """
    command = [*compiler(machine).c, *_FLAGS, "-o", str(out), *map(str, objects), *_libraries(machine)]
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BackendFailed(f"{command[0]} took over {DEADLINE_S:g} s", stage=_STAGE) from error
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise BackendFailed(f"{command[0]} could not link {out.name}: {last}", stage=_STAGE, log=done.stderr)


def exporter(machine: str) -> Callable[..., None]:
    """`link` as TVM's `export_library(fcompile=...)` calls it: (output, objects, options)."""

    def fcompile(output: str, objects: Sequence[str], _options: object = None, **_more: object) -> None:
        link([Path(name) for name in objects], Path(output), machine)

    return fcompile


def _libraries(machine: str) -> tuple[str, ...]:
    """On Android nothing: what zig would link is another C library, and the process has its own loaded already."""
    return ("-nostdlib",) if machine == "android" else ("-lm",)


def _installed(machine: Machine) -> Compiler | None:
    pairs = [("cc", "c++"), ("gcc", "g++"), ("clang", "clang++")] if machine.native else []
    for prefix in machine.compilers:
        pairs += [(f"{prefix}gcc", f"{prefix}g++"), (f"{prefix}clang", f"{prefix}clang++")]
    for c, cxx in pairs:
        if shutil.which(c) and shutil.which(cxx):
            return Compiler((c,), (cxx,))
    return None


def _zig(machine: Machine) -> Compiler | None:
    spec = util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).parent / "zig"
    c, cxx = ((str(program), language, "-target", machine.zig) for language in ("cc", "c++"))
    return Compiler(c, cxx, program)


def _missing(machine: Machine) -> Compiler:
    line = "pip install ziglang"
    if machine.package:
        line += f"; or apt-get install {machine.package}"
    raise BackendMissing(f"no compiler makes libraries for {machine.name}", where=_STAGE, hint=line)
