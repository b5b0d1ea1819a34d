"""From `typed.onnx` to `model.engine`, inside a child: parse, configure, build, write."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from effc.backends.tensorrt import library, logs
from effc.backends.tensorrt.api import Builder, IBuilderConfig, ILogger, INetworkDefinition, ParserError, Trt
from effc.backends.tensorrt.build import cache, complaints, flavours, monitor
from effc.backends.tensorrt.build.monitor import Meter, Report
from effc.core import files
from effc.core.errors import BackendFailed, Refusal, UnsupportedOps
from effc.core.options import EngineOptions, Profile
from effc.core.target import Target

LAYERS = "engine.json"
_MIB = 1 << 20
_REASONS = {
    "UNSUPPORTED_NODE": "its parser does not take this op",
    "UNSUPPORTED_NODE_ATTR": "its parser does not take an attribute of it",
    "UNSUPPORTED_NODE_INPUT": "its parser does not take an input of it",
    "UNSUPPORTED_NODE_DATATYPE": "its parser does not take this data type",
    "UNSUPPORTED_NODE_DYNAMIC": "its parser needs fixed dims here",
    "UNSUPPORTED_NODE_SHAPE": "its parser does not take these shapes",
    "INVALID_NODE": "its parser does not take the node as it stands",
}


@dataclass(frozen=True)
class Job:
    """All that a child needs to build one engine.

    Attributes:
        source: the strongly typed ONNX file; weights of 2 GiB and more lie beside it.
        engine: the file to write.
        caches: timing caches to start from, the first that serves; none where the library has no use for them.
        kept: where the timing cache is written back.
        inspect: load the engine and write down its layers, which takes a GPU.
    """

    target: Target
    source: Path
    engine: Path
    options: EngineOptions
    profiles: tuple[Profile, ...] = ()
    caches: tuple[Path, ...] = ()
    kept: tuple[Path, ...] = ()
    inspect: bool = False

    @property
    def stage(self) -> str:
        """What errors name."""
        return stage(self.target)


@dataclass(frozen=True)
class Built:
    """What a child made.

    Attributes:
        files: names of the files written, the engine first.
        seconds: what the library's build call took.
    """

    files: tuple[str, ...]
    seconds: float


def stage(target: Target) -> str:
    """What errors name."""
    return f"build {target}"


def build(job: Job, *, report: Report) -> Built:
    """Write the engine, and `engine.json` where it is inspected.

    Args:
        report: told the percentage that is done.

    Raises:
        BackendMissing: the library does not load.
        BadInput: there is no room for the engine.
        UnsupportedOps: the parser refuses nodes; all of them are listed.
        BackendFailed: the library failed; the reason is its own log's, in our words where it is known.
    """
    log = logs.Log()
    try:
        trt = library.load(job.target.backend)
        logger = logs.logger(trt, log)
        plan, seconds = _plan(job, trt, logger, log, Meter(report))
        with files.writing(job.engine):
            job.engine.write_bytes(plan)
        layers = _layers(trt, logger, plan) if job.inspect else ""
    except MemoryError as error:
        raise BackendFailed(complaints.MEMORY, stage=job.stage, hint=complaints.MEMORY_HINT) from error
    if layers:
        with files.writing(path := job.engine.with_name(LAYERS)):
            path.write_text(layers, encoding="utf-8")
    return Built((job.engine.name, LAYERS) if layers else (job.engine.name,), seconds)


def _plan(job: Job, trt: Trt, logger: ILogger, log: logs.Log, meter: Meter) -> tuple[memoryview, float]:
    """The serialized engine, and the seconds that the library's build call took."""
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # so the bindings say that the library returned none
        raise complaints.failure(job.stage, log.errors) from error
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    _parse(job, trt, network, logger)
    config = configured(job, trt, builder)
    config.progress_monitor = monitor.progress(trt, meter)
    times = cache.attach(config, job.caches, log.note) if job.kept else None
    start = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    seconds = time.perf_counter() - start
    if plan is None:
        raise complaints.failure(job.stage, log.errors)
    if times is not None:
        for path in job.kept:
            cache.keep(times, path, log.note)
    return memoryview(plan), seconds


def _parse(job: Job, trt: Trt, network: INetworkDefinition, logger: ILogger) -> None:
    """Fill the network. The parser checks all nodes before it takes the first, so its errors name all at once."""
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(job.source)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        if named := [_refusal(error) for error in errors if error.node_operator()]:
            raise UnsupportedOps(str(job.target), named)
        raise complaints.failure(job.stage, [error.desc() for error in errors])
    inputs = (network.get_input(index) for index in range(network.num_inputs))
    if deciding := [tensor.name for tensor in inputs if tensor.is_shape_tensor]:
        raise UnsupportedOps(str(job.target), [_deciding(name) for name in deciding])


def _refusal(error: ParserError) -> Refusal:
    """A node that the parser does not take; its own words where they say something."""
    code, said = error.code().name, error.desc().strip('"')
    reason = _REASONS.get(code, f"its parser refuses it ({code.lower()})")
    return Refusal(error.node_name() or "?", error.node_operator(), f"{reason}: {said}" if " " in said else reason)


def _deciding(name: str) -> Refusal:
    """An input whose values are dims: an engine would need a range for each value, which no option gives."""
    reason = "its values decide the shapes of other tensors, so an engine cannot be planned for it"
    return Refusal(name, "input", reason, "make it a constant of the model")


def configured(job: Job, trt: Trt, builder: Builder) -> IBuilderConfig:
    """How to build, as the options say; what they leave open stays the library's default."""
    config, options = builder.create_builder_config(), job.options
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb * _MIB)
    if options.level is not None:
        config.builder_optimization_level = options.level
    if options.hardware:
        levels = trt.HardwareCompatibilityLevel
        wide = options.hardware == "ampere+"
        config.hardware_compatibility_level = levels.AMPERE_PLUS if wide else levels.SAME_COMPUTE_CAPABILITY
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    wanted = {
        trt.BuilderFlag.REFIT: options.refit,
        trt.BuilderFlag.VERSION_COMPATIBLE: options.version_compatible,
        trt.BuilderFlag.WEIGHT_STREAMING: options.weight_streaming,
    }
    for flag in (flag for flag, on in wanted.items() if on):
        config.set_flag(flag)
    for given in job.profiles:
        profile = builder.create_optimization_profile()
        for name, span in given.items():
            profile.set_shape(name, span.min, span.opt, span.max)
        config.add_optimization_profile(profile)
    flavours.compile_for(trt, config, options.capabilities)
    return config


def _layers(trt: Trt, logger: ILogger, plan: memoryview) -> str:
    """What the engine's layers are, as JSON; empty where this GPU does not load the engine."""
    runtime = trt.Runtime(logger)
    runtime.engine_host_code_allowed = True  # ours: built a moment ago
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return ""
    return engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
