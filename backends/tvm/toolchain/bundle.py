"""effc-run, libeffc and the TVM runtime built for a machine: a folder to copy there."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from effc.backends.tvm.toolchain.compilers import Compiler, compiler
from effc.backends.tvm.toolchain.machines import named
from effc.backends.tvm.toolchain.runtime import runtime
from effc.core.cache import cache_folder
from effc.core.errors import BackendFailed, BackendMissing
from effc.core.files import staged_folder

SOURCES = Path(__file__).parent / "runner"
DEADLINE_S = 900.0
_WHOLE = ("-DCMAKE_UNITY_BUILD=ON", "-DCMAKE_UNITY_BUILD_BATCH_SIZE=0")
"""One translation unit a program: half the time."""
_STAGE = "build effc-run"


@dataclass(frozen=True)
class Bundle:
    """bin/effc-run, lib/ with libeffc and TVM's libraries, include/effc.h."""

    folder: Path

    @property
    def library(self) -> Path:
        """The C library."""
        return self.folder / "lib" / "libeffc.so"

    @property
    def runner(self) -> Path:
        """The program."""
        return self.folder / "bin" / "effc-run"


def bundle(machine: str, sanitize: str = "") -> Bundle:
    """The bundle for a machine, built once for these sources and this compiler.

    Args:
        sanitize: sanitizers to build it with, such as "address,undefined".

    Raises:
        BackendMissing: there is no compiler, no CMake, or no TVM runtime for it.
        BackendFailed: pip or the compiler failed.
    """
    tools = compiler(machine)
    options = (*_compiler_options(machine, tools), f"-DEFFC_TVM={runtime(machine)}", f"-DEFFC_SANITIZE={sanitize}")
    kept = cache_folder() / "runner" / f"{machine}-{_digest(tools, options)}"
    if not kept.is_dir():
        with tempfile.TemporaryDirectory(prefix="effc-runner-") as build, staged_folder(kept, overwrite=True) as folder:
            _cmake("-S", str(SOURCES), "-B", build, "-G", "Ninja", *options, *_WHOLE)
            _cmake("--build", build)
            _cmake("--install", build, "--prefix", str(folder))
    return Bundle(kept)


def _compiler_options(machine: str, tools: Compiler) -> tuple[str, ...]:
    make = f"-DCMAKE_MAKE_PROGRAM={_program('ninja')}"
    if tools.zig is None and named(machine).native:
        return make, f"-DCMAKE_C_COMPILER={tools.c[0]}", f"-DCMAKE_CXX_COMPILER={tools.cxx[0]}"
    cross = f"-DCMAKE_TOOLCHAIN_FILE={SOURCES / 'cmake' / 'cross.cmake'}", f"-DEFFC_PROCESSOR={machine}"
    return make, *cross, f"-DEFFC_ZIG={tools.zig or ''}"


def _cmake(*words: str) -> None:
    """Run it. Raises BackendMissing without CMake, BackendFailed with its output where it fails."""
    command = [_program("cmake"), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BackendFailed(f"cmake took over {DEADLINE_S:g} s", stage=_STAGE) from error
    if done.returncode:
        log = done.stdout + done.stderr
        said = [line for line in log.splitlines() if "error" in line.lower()]
        raise BackendFailed(" ".join(said[:1]) or "cmake failed", stage=_STAGE, log=log)


def _program(name: str) -> str:
    """Where a program is: among this Python's scripts, which pip fills, or on the path."""
    places = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))
    found = shutil.which(name, path=places)
    if found is None:
        raise BackendMissing(f"{name} is not installed", where=_STAGE, hint="pip install cmake ninja")
    return found


def _digest(tools: Compiler, options: Sequence[str]) -> str:
    """What decides the bundle's bytes: compiler, options with TVM's place, sources."""
    made = hashlib.sha256(" ".join((tools.version(), *options)).encode())
    for path in sorted(path for path in SOURCES.rglob("*") if path.is_file()):
        made.update(str(path.relative_to(SOURCES)).encode() + path.read_bytes())
    return made.hexdigest()[:16]
