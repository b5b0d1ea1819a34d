"""From an artifact folder to an engine on the GPU: checked against machine and library before it is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from effc.backends.tensorrt import library
from effc.backends.tensorrt.api import ICudaEngine, IExecutionContext, Runtime, Trt
from effc.backends.tensorrt.logs import Log, logger
from effc.backends.tensorrt.run import compatibility
from effc.backends.tensorrt.run.tensors import STAGE, Tensor, described
from effc.core import device
from effc.core.errors import BackendFailed, BackendMissing, BadInput
from effc.core.manifest import Manifest
from effc.core.target import Target

_SILENT = "the library does not say why"


@dataclass(frozen=True)
class Loaded:
    """An engine with what belongs to it.

    Attributes:
        runtime: must live as long as the engine.
        log: what the library has against its use.
    """

    trt: Trt
    runtime: Runtime
    engine: ICudaEngine
    manifest: Manifest
    tensors: tuple[Tensor, ...]
    log: Log

    def context(self) -> IExecutionContext:
        """A new execution context. Raises BackendFailed, usually since the GPU's memory is full."""
        made = self.engine.create_execution_context()
        if made is None:
            hint = "the GPU's memory may be full: fewer --streams, or a smaller profile"
            raise BackendFailed(f"no execution context: {self.reason()}", stage=STAGE, hint=hint)
        return made

    def reason(self) -> str:
        """The library's last word on what went wrong."""
        return last(self.log)


def load(folder: Path, file: str) -> Loaded:
    """The engine of an artifact.

    Raises:
        BadInput: it was built for another GPU or by another version, or the file is damaged.
        BackendMissing: the library, or a GPU, is not here.
    """
    manifest = Manifest.read(folder)
    flavour = Target.parse(manifest.target).backend
    compatibility.check(manifest, device.here(), library.installed(library.LIBRARIES[flavour]), str(folder))
    trt, log = library.load(flavour), Log()
    runtime = trt.Runtime(logger(trt, log))
    if manifest.engine is not None and manifest.engine.version_compatible:
        runtime.engine_host_code_allowed = True  # such an engine brings its own runtime along
    engine = deserialized(runtime, folder / file, log, f"{library.LIBRARIES[flavour].title} {trt.__version__}")
    stream_weights(engine)
    return Loaded(trt, runtime, engine, manifest, described(trt, engine), log)


def deserialized(runtime: Runtime, path: Path, log: Log, title: str) -> ICudaEngine:
    """The engine in a file.

    Raises:
        BadInput: the file is damaged, or no engine of this library.
        BackendMissing: there is no GPU to load it to.
        BackendFailed: anything else, as a GPU without enough memory.
    """
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is not None:
        return engine
    cause = log.errors[0] if log.errors else _SILENT  # what follows the first error is its echo
    if re.search(r"Serialization|empty memory buffer", cause):
        what, hint = f"it is damaged, or no engine of {title}", "build it again here"
        raise BadInput(what, where=str(path), hint=f"{hint} ({cause})")
    if re.search(r"cudaError (35|100)\b", cause):
        raise BackendMissing(
            device.no_gpu() or cause, where=str(path), hint="an engine loads where it can run: on a GPU"
        )
    hint = "the GPU's memory may be full: a smaller model or profile, or end what else runs there"
    raise BackendFailed(f"{title} does not load the engine: {cause}", stage=STAGE, hint=hint)


def stream_weights(engine: ICudaEngine) -> None:
    """Let an engine that can keep weights in host memory keep as many on the GPU as it judges fit."""
    if engine.streamable_weights_size > 0:
        engine.weight_streaming_budget_v2 = engine.get_weight_streaming_automatic_budget()


def last(log: Log) -> str:
    """The last error of the library's log."""
    return log.errors[-1] if log.errors else _SILENT
