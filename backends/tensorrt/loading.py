"""From an artifact folder to an engine on the GPU: checked against machine and library before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from effc.backends.tensorrt import library, machine
from effc.backends.tensorrt.api import ICudaEngine, IExecutionContext, Runtime, Trt
from effc.backends.tensorrt.listener import Words, listener
from effc.backends.tensorrt.tensors import STAGE, Tensor, described
from effc.core.errors import BackendFailed, BadInput
from effc.core.manifest import Manifest
from effc.core.target import Target


@dataclass(frozen=True)
class Loaded:
    """An engine with what belongs to it.

    Attributes:
        runtime: must live as long as the engine.
        words: what the library has against its use.
    """

    trt: Trt
    runtime: Runtime
    engine: ICudaEngine
    manifest: Manifest
    tensors: tuple[Tensor, ...]
    words: Words

    def context(self) -> IExecutionContext:
        """A new execution context. Raises BackendFailed, usually since the GPU's memory is full."""
        made = self.engine.create_execution_context()
        if made is None:
            hint = "the GPU's memory may be full: fewer --streams, or a smaller profile"
            raise BackendFailed(f"no execution context: {self.words.last()}", stage=STAGE, hint=hint)
        return made


def load(folder: Path, file: str) -> Loaded:
    """The engine of an artifact.

    Raises:
        BadInput: it was built for another GPU or by another version, or the file is damaged.
        BackendMissing: the library is not here.
    """
    manifest = Manifest.read(folder)
    flavour = Target.parse(manifest.target).backend
    machine.check(manifest, machine.here(), library.installed(library.LIBRARIES[flavour]), str(folder))
    trt, words = library.load(flavour), Words()
    runtime = trt.Runtime(listener(trt, words))
    if manifest.engine is not None and manifest.engine.version_compatible:
        runtime.engine_host_code_allowed = True  # such an engine brings its own runtime along
    engine = runtime.deserialize_cuda_engine((folder / file).read_bytes())
    if engine is None:
        title, version = library.LIBRARIES[flavour].title, trt.__version__
        what = f"{title} {version} cannot load it: {words.last()}"
        raise BadInput(what, where=str(folder / file), hint="it is damaged, or from elsewhere: build it again here")
    stream_weights(engine)
    return Loaded(trt, runtime, engine, manifest, described(trt, engine), words)


def stream_weights(engine: ICudaEngine) -> None:
    """Let an engine that can keep weights in host memory keep as many on the GPU as it judges fit."""
    if engine.streamable_weights_size > 0:
        engine.weight_streaming_budget_v2 = engine.get_weight_streaming_automatic_budget()
