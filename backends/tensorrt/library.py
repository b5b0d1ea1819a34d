"""Which library a flavour needs, whether it is here, and the library itself, which only a child may load."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import cast

from effc.backends.tensorrt.api import Trt
from effc.core.errors import BackendMissing

Version = tuple[int, ...]


@dataclass(frozen=True)
class Library:
    """Where a flavour's library comes from.

    Attributes:
        module: what is imported.
        title: what errors call it.
        extra: the optional dependency of effc that installs it.
        distributions: packages that may have brought it, whichever is there tells the version.
        least, below: the versions that this backend is written for: least <= version < below.
    """

    module: str
    title: str
    extra: str
    distributions: tuple[str, ...]
    least: Version
    below: Version

    @property
    def install(self) -> str:
        """The line that installs it."""
        return f"pip install 'effc[{self.extra}]'"


def _distributions(stem: str) -> tuple[str, ...]:
    cuda = tuple(f"{stem}_cu{major}{part}" for major in (13, 12) for part in ("_bindings", ""))
    return (*cuda, stem)


LIBRARIES = {
    "trt": Library("tensorrt", "TensorRT", "trt", _distributions("tensorrt"), (10, 9), (12,)),
    "rtx": Library("tensorrt_rtx", "TensorRT-RTX", "rtx", _distributions("tensorrt_rtx"), (1, 7), (2,)),
}


def missing(flavour: str) -> str | None:
    """The line that installs the flavour's library, None where one that serves is installed. Loads nothing."""
    library = LIBRARIES[flavour]
    if importlib.util.find_spec(library.module) is None:
        return library.install
    reason = unfit(library, installed(library))
    return f"{library.install} ({reason})" if reason else None


def versions(flavour: str) -> dict[str, str]:
    """The library's package name and version, for the manifest; empty where it is not installed."""
    found = installed(LIBRARIES[flavour])
    return {LIBRARIES[flavour].module: found} if found else {}


def load(flavour: str) -> Trt:
    """The library itself.

    Raises:
        BackendMissing: it is not installed, its shared libraries do not load, or its version is not one of those
            that this backend is written for.
        MemoryError: there is no room for it.
    """
    library = LIBRARIES[flavour]
    try:
        found = cast(Trt, importlib.import_module(library.module))
    except (ImportError, OSError, RuntimeError) as error:
        if "bad_alloc" in str(error) or "Cannot allocate memory" in str(error):
            raise MemoryError from error
        raise BackendMissing(f"{library.title} does not load: {error}", hint=library.install) from error
    if (reason := unfit(library, found.__version__)) is not None:
        raise BackendMissing(reason, hint=library.install)
    return found


def installed(library: Library) -> str:
    """The version that the installed packages state, empty where none does."""
    for name in library.distributions:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


def unfit(library: Library, found: str) -> str | None:
    """Why a version does not serve; None where it does, or states nothing."""
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if not numbers or library.least <= numbers < library.below:
        return None
    least, below = (".".join(map(str, bound)) for bound in (library.least, library.below))
    return f"{library.title} {found} is installed, and effc drives {least} and newer, below {below}"
