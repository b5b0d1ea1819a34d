"""Emission: the interface that the typed ONNX states, and the engine built from it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from effc.backends.base import EmitOptions, Emitted
from effc.backends.tensorrt import profiles
from effc.backends.tensorrt.engine import Job
from effc.compiler import ir
from effc.core import worker
from effc.core.manifest import TYPED_NAME, TensorInfo
from effc.core.options import Profile
from effc.core.target import Target

FILE_NAME = "model.engine"


def emit(model: ir.Model, target: Target, options: EmitOptions, folder: Path) -> Emitted:
    """State inputs, outputs and profiles of the typed model; build the engine from `typed.onnx` unless deferred."""
    inputs, outputs = _infos(model.graph.inputs), _infos(model.graph.outputs)
    spans = profiles.complete(inputs, options.profiles)
    files = () if options.defer else _build(folder, target, options, spans)
    return Emitted(FILE_NAME, files, inputs, outputs, profiles=spans, engine=options.engine)


def finish(folder: Path, target: Target, options: EmitOptions) -> tuple[str, ...]:
    """Build the engine of a sealed package."""
    return _build(folder, target, options, options.profiles)


def _build(folder: Path, target: Target, options: EmitOptions, spans: tuple[Profile, ...]) -> tuple[str, ...]:
    job = Job(
        target.backend,
        str(target),
        folder / TYPED_NAME,
        folder / FILE_NAME,
        target.suffixes,
        options.engine,
        spans,
    )
    built: tuple[str, ...] = worker.call(
        "effc.backends.tensorrt.engine:build",
        job,
        stage=f"build {target}",
        deadline=options.engine.timeout_s,
        progress=options.progress,
    )
    return built


def _infos(values: Iterable[ir.Value]) -> tuple[TensorInfo, ...]:
    return tuple(_info(value) for value in values)


def _info(value: ir.Value) -> TensorInfo:
    dims = ir.shape(value) or ()
    return TensorInfo(value.name or "", str(ir.numpy_dtype(value) or "float32"), dims, "NCHW" if len(dims) == 4 else "")
