"""From `typed.onnx` to `model.engine`, inside a child: parse, configure, build, write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from effc.backends.tensorrt import flavours, library
from effc.backends.tensorrt.api import Builder, IBuilderConfig, INetworkDefinition, Trt
from effc.core.errors import BackendFailed, Refusal, UnsupportedOps
from effc.core.options import EngineOptions, Profile

Report = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Job:
    """All that a child needs to build one engine.

    Attributes:
        flavour: "trt" or "rtx".
        source: the strongly typed ONNX file.
        engine: the file to write.
        capabilities: GPUs to compile for ahead of time, as in "sm89"; empty means all, or this machine's.
    """

    flavour: str
    target: str
    source: Path
    engine: Path
    capabilities: tuple[str, ...] = ()
    options: EngineOptions = EngineOptions()
    profiles: tuple[Profile, ...] = ()


def build(job: Job, *, report: Report) -> tuple[str, ...]:
    """Write the engine; names of the files written, the engine first."""
    report(0, None)
    trt = library.load(job.flavour)
    logger = trt.Logger(trt.ILogger.Severity.WARNING)  # type: ignore[attr-defined]
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(job.source)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        raise UnsupportedOps(job.target, [Refusal(e.node_name(), e.node_operator(), e.desc()) for e in errors])
    config = _configured(trt, builder, job)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BackendFailed("the engine was not built", stage=job.target)
    job.engine.write_bytes(memoryview(plan))
    return (job.engine.name,)


def _configured(trt: Trt, builder: Builder, job: Job) -> IBuilderConfig:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    for given in job.profiles:
        profile = builder.create_optimization_profile()
        for name, span in given.items():
            profile.set_shape(name, span.min, span.opt, span.max)
        config.add_optimization_profile(profile)
    flavours.compile_for(job.flavour, trt, config, job.capabilities)
    return config
