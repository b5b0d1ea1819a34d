"""Emission: the interface that the typed ONNX states, and the engine built from it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from effc.backends.base import EmitOptions, Emitted
from effc.backends.tensorrt import library
from effc.backends.tensorrt.build import cache, capabilities, complaints, engine, profiles
from effc.backends.tensorrt.build.engine import Built, Job, stage
from effc.compiler import ir
from effc.core import device, worker
from effc.core.errors import BackendFailed
from effc.core.manifest import TYPED_NAME
from effc.core.target import Target

FILE_NAME = "model.engine"
ENGINE = "engine"
"""The stage that is the library's own."""


def emit(model: ir.Model, target: Target, options: EmitOptions, folder: Path) -> Emitted:
    """State inputs, outputs and profiles of the typed model; build the engine from `typed.onnx` unless deferred.

    A timing cache that the user names goes into a deferred package, whose build then starts from it.

    Raises:
        BadInput: a profile or an option that cannot be.
        UnsupportedOps: nodes that the parser, or a GPU that is named, does not take.
        BackendMissing, BackendFailed: the library does not load, or it failed.
    """
    inputs, outputs = ir.infos(model.graph.inputs), ir.infos(model.graph.outputs)
    wanted = settled(model, target, options)
    files = _slot(options, folder) if options.defer else finish(folder, target, wanted)
    return Emitted(FILE_NAME, files, inputs, outputs, profiles=wanted.profiles, engine=wanted.engine)


def settled(model: ir.Model, target: Target, options: EmitOptions) -> EmitOptions:
    """The options with all profiles and GPUs that they leave open; raises what `emit` does for those that cannot be."""
    capabilities.check(target, options.engine, None if options.defer else device.no_gpu())
    engine = replace(options.engine, capabilities=capabilities.compiled_for(target, model))
    return replace(options, engine=engine, profiles=profiles.complete(ir.infos(model.graph.inputs), options.profiles))


def child(folder: Path, target: Target, options: EmitOptions) -> worker.Worker:
    """A child whose memory is the same every time, in the folder; it loads the library before it is asked."""
    return worker.Worker(
        stage(target),
        deadline=options.engine.timeout_s,
        fixed=folder,
        preload=(engine.__name__, library.LIBRARIES[target.backend].module),
    )


def finish(folder: Path, target: Target, options: EmitOptions) -> tuple[str, ...]:
    """Build the engine from `typed.onnx` in a child; names of the files written, the engine first.

    Raises:
        BadInput: an option that this machine cannot serve, or no room for the engine.
        UnsupportedOps, BackendMissing, BackendFailed: as `emit`.
    """
    capabilities.check(target, options.engine, device.no_gpu())
    job = _job(folder, target, options)
    try:
        with options.child or child(folder, target, options) as started:
            built: Built = started.call(f"{engine.__name__}:build", job, progress=options.progress)
    except BackendFailed as error:
        raise _advised(error) from error
    options.progress.took(ENGINE, built.seconds)
    return built.files


def _job(folder: Path, target: Target, options: EmitOptions) -> Job:
    """What the child, which works in `folder`, is to do. TensorRT alone measures kernels and has a timing cache."""
    job = Job(target, Path(TYPED_NAME), Path(FILE_NAME), options.engine, options.profiles)
    job = replace(job, inspect=device.no_gpu() is None)
    facts = {**device.toolchain(), **library.versions(target.backend)}
    place = cache.place(options.timing_cache, facts, options.engine)
    if target.backend == capabilities.RTX or place is None:
        return job
    return replace(job, caches=(place, Path(cache.SLOT)), kept=(place,))


def _slot(options: EmitOptions, folder: Path) -> tuple[str, ...]:
    """The user's timing cache, carried along in the package."""
    source = Path(options.timing_cache or "")
    if not source.is_file():
        return ()
    shutil.copyfile(source, folder / cache.SLOT)
    return (cache.SLOT,)


def _advised(error: BackendFailed) -> BackendFailed:
    """A child that was stopped or killed, with what to do about it."""
    if "SIGKILL" in error.what:
        hint = "most often the system kills a process when memory runs out; " + complaints.MEMORY_HINT
    elif "no answer within" in error.what:
        hint = "--build-timeout gives it longer; --builder-level 1 or 2 builds faster"
    else:
        return error
    return BackendFailed(error.what, stage=error.stage, log=error.log, hint=hint)
