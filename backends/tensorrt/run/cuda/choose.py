"""Which binding of CUDA runs the engines."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping

from effc.backends.tensorrt.run.cuda.cuda_python import CudaPython
from effc.backends.tensorrt.run.cuda.interface import Cuda
from effc.backends.tensorrt.run.cuda.with_pycuda import WithPycuda
from effc.core.errors import BackendMissing, BadInput

VARIABLE = "EFFC_CUDA"
BINDINGS: Mapping[str, Callable[[], Cuda]] = {"cuda-python": CudaPython, "pycuda": WithPycuda}
_MODULES = {"cuda-python": ("cuda", "cuda.bindings"), "pycuda": ("pycuda",)}
_INSTALL = "pip install 'cuda-bindings>=12.8' (or pycuda)"


def binding() -> str:
    """The name of the binding that `EFFC_CUDA` asks for, else of the first one that is installed.

    Raises:
        BadInput: the variable names no binding.
        BackendMissing: the named one, or any at all, is not installed.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted and wanted not in BINDINGS:
        raise BadInput(f"it names no binding of CUDA: {wanted!r}", where=VARIABLE, hint=f"one of {', '.join(BINDINGS)}")
    found = next((name for name in BINDINGS if wanted in ("", name) and _installed(name)), None)
    if found is None:
        raise BackendMissing(f"{wanted or 'no binding of CUDA'} is not installed", where="CUDA", hint=_INSTALL)
    return found


def cuda() -> Cuda:
    """That binding, ready for the first GPU. Raises what `binding` does, and BackendMissing where it does not start."""
    return BINDINGS[binding()]()


def _installed(name: str) -> bool:
    return all(importlib.util.find_spec(module) is not None for module in _MODULES[name])
