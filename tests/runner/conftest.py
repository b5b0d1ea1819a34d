"""Artifacts and programs, each made once a session."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import support

from effc.backends.tvm.toolchain import device
from effc.backends.tvm.toolchain.bundle import Bundle, bundle
from effc.backends.tvm.toolchain.compilers import compiler
from effc.core.errors import BackendMissing

HERE = platform.machine()


def _written(folder: Path, machine: str) -> Path:
    """In a process of its own: TVM and its LLVM stay out of this one."""
    script = support.ROOT / "tests" / "tvm_models.py"
    subprocess.run([sys.executable, str(script), str(folder), machine], check=True)
    return folder / machine


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of this machine's artifacts, by model."""
    return _written(tmp_path_factory.mktemp("libraries"), HERE)


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of ARM artifacts, by model, where an emulator runs them."""
    try:
        device.transport("aarch64")
    except BackendMissing as error:
        pytest.skip(f"no qemu-aarch64: {error.what}")
    return _written(tmp_path_factory.mktemp("emulated"), "aarch64")


@pytest.fixture(scope="session")
def sanitizers() -> str:
    """zig brings no address sanitizer."""
    return "undefined" if compiler(HERE).zig else "address,undefined"


@pytest.fixture(scope="session")
def checked(sanitizers: str) -> Bundle:
    """What runs the tests: a wild access or undefined behaviour ends the program with a report and exit code 1."""
    return bundle(HERE, sanitizers)


Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="session")
def effc_run(checked: Bundle) -> Run:
    """effc-run with words, and bytes for its stdin."""

    def run(*words: object, sent: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [str(checked.runner), *map(str, words)]
        return subprocess.run(command, input=sent, capture_output=True, timeout=120, check=False)

    return run


@pytest.fixture
def dense(libraries: Path, tmp_path: Path) -> Path:
    """A copy of the float model's artifact, to be spoiled."""
    return Path(shutil.copytree(libraries / "dense", tmp_path / "dense"))
