"""TVM's runtime for a machine: the two libraries that a device needs, and the headers that effc-run is built with.

`python -m effc.backends.tvm.toolchain.runtime MACHINE` prints their paths, separated by semicolons.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from effc.backends.tvm.toolchain.machines import Machine, named
from effc.core import wheels
from effc.core.cache import cache_folder
from effc.core.errors import BackendFailed, BackendMissing, EffcError
from effc.core.files import sha256, staged_folder

_STAGE = "TVM runtime"


@dataclass(frozen=True)
class Package:
    """A distribution and what is taken from it.

    Attributes:
        flags: pip's, which ask for one of several wheels.
        wheels: sha256 of the wheel by machine.
        library: path of its library inside.
    """

    name: str
    version: str
    flags: tuple[str, ...]
    wheels: dict[str, str]
    library: str


TVM = Package(
    "apache-tvm",
    "0.27.0.post1",
    (),
    {
        "aarch64": "4acfdb7653e4e1ba7a707bdf2833db72eb8fda7d04d99141f2a4e1da43171fb7",
        "x86_64": "f503fc903b6e16fda5daacac6698ecb8bc38937f57da7aa29f6c7ab169d08657",
    },
    "tvm/lib/libtvm_runtime.so",
)
FFI = Package(
    "apache-tvm-ffi",
    "0.1.14.post1",
    ("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"),
    {
        "aarch64": "c7a759781d4fbf2b99fa12f2741f250b882b06acc2747bb02831d491d1ac7d3c",
        "x86_64": "4b01a5a3fa07ed3315d5ef1e05d3542dae57a119ef7e77c54bc062414e242f65",
    },
    "tvm_ffi/lib/libtvm_ffi.so",
)
HEADERS = "tvm_ffi/include"


@dataclass(frozen=True)
class Runtime:
    """Where they lie.

    Attributes:
        headers: folder of tvm_ffi's.
        libraries: libtvm_runtime.so, libtvm_ffi.so.
    """

    headers: Path
    libraries: tuple[Path, Path]

    def __str__(self) -> str:
        return ";".join(map(str, (self.headers, *self.libraries)))


def runtime(machine: str) -> Runtime:
    """This machine's from the installed packages, others' (about 100 MB, once) from the wheels for them.

    Raises:
        BadInput: no such machine.
        BackendMissing: there are no wheels for it.
        BackendFailed: pip could not get a wheel, or got other bytes than those known.
    """
    wanted = named(machine)
    if wanted.native and _installed():
        return _at(Path(str(metadata.distribution(TVM.name).locate_file(""))))
    if not wanted.platform:
        raise BackendMissing(f"no TVM runtime is built for {machine}", where=_STAGE, hint="its libraries link only")
    kept = cache_folder() / "tvm" / f"{TVM.version}-{FFI.version}-{machine}"
    if not kept.is_dir():
        _fetch(wanted, kept)
    return _at(kept)


def _installed() -> bool:
    try:
        return all(metadata.version(package.name) == package.version for package in (TVM, FFI))
    except metadata.PackageNotFoundError:
        return False


def _at(root: Path) -> Runtime:
    return Runtime(root / HEADERS, (root / TVM.library, root / FFI.library))


def _fetch(machine: Machine, kept: Path) -> None:
    """Take the libraries and the headers out of the machine's wheels."""
    with staged_folder(kept, overwrite=True) as staging:
        for package in (TVM, FFI):
            with tempfile.TemporaryDirectory(prefix="effc-tvm-") as name:
                _extract(_wheel(package, machine, Path(name)), package, staging)


def _wheel(package: Package, machine: Machine, folder: Path) -> Path:
    flags = ("--platform", machine.platform, *package.flags)
    found = wheels.download(f"{package.name}=={package.version}", folder, _STAGE, flags)
    if (digest := sha256(found)) != package.wheels[machine.name]:
        raise BackendFailed(f"sha256 of {found.name} is {digest}", stage=_STAGE, hint="check pip's index")
    return found


def _extract(packed: Path, package: Package, folder: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        for name in archive.namelist():
            if name == package.library or name.startswith(f"{HEADERS}/"):
                archive.extract(name, folder)


def main(words: list[str]) -> int:
    """Print the paths for the machine that is named; the exit code."""
    try:
        print(runtime(words[0]))
    except EffcError as error:
        print(f"error ({error.kind}): {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
