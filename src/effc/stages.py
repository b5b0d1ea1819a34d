"""The stages between a simplified model and its emission: legalize, calibrate, quantize, narrow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from effc.backends import base
from effc.core.errors import BadInput, EffcError, Refusal, UnsupportedOps, unforeseen
from effc.core.options import CalibrationOptions, DataOptions, Profile
from effc.core.profiles import sizes
from effc.core.progress import Progress
from effc.core.target import Target

if TYPE_CHECKING:
    from effc.calibration.known import Known
    from effc.calibration.quantize import Quantized
    from effc.calibration.readers import Dataset
    from effc.calibration.scheme import Scheme
    from effc.calibration.statistics import Statistics
    from effc.compiler import ir
    from effc.compiler.passes.precision import Narrowing
    from effc.compiler.phase import StepRecord


@dataclass(frozen=True)
class Legal:
    """A target with the simplified model in its ops."""

    target: Target
    backend: base.Backend
    model: ir.Model
    steps: tuple[StepRecord, ...]


@dataclass(frozen=True)
class Typed:
    """The model with the precision of every tensor written into it, by Q/DQ and casts.

    Attributes:
        precision: node name to precision.
        kept: node name to the reason why it stays in float32.
    """

    model: ir.Model
    precision: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)


def legalize(model: ir.Model, target: Target, *, defer: bool = False) -> Legal | EffcError:
    """The model in the target's ops, or the error that says why it cannot be.

    Args:
        defer: the backend need not be installed where another machine can finish its artifacts.
    """
    from effc.compiler import phase

    try:
        backend = base.for_target(target)
        if not (defer and isinstance(backend, base.Sealing)):
            base.require(backend)
        trial = model.clone()
        steps = phase.run(trial, backend.legalize(target))
        refusals = backend.support(trial, target)
        if refusals:
            raise UnsupportedOps(str(target), refusals)
    except EffcError as error:
        return error
    except Exception as error:
        return unforeseen(error, where=str(target))
    return Legal(target, backend, trial, steps)


def profits(legal: Legal) -> bool:
    """Whether statistics of the activations decide what the target gets."""
    return legal.target.quantized or legal.backend.narrowing(legal.target) is not None


def calibrated(
    model: ir.Model, options: CalibrationOptions, profiles: tuple[Profile, ...] = ()
) -> tuple[Dataset, Statistics]:
    """The calibration set and the statistics of all activations over it, cached by content.

    Args:
        profiles: random data takes the sizes that the first one is tuned for.
    """
    from effc.calibration.collect import collect_cached
    from effc.calibration.readers import RANDOM, open_data
    from effc.compiler.oracle import graph_inputs

    data, inputs = need_data(options), graph_inputs(model)
    if data.spec == RANDOM:
        dims = sizes({entry.name: entry.shape for entry in inputs}, profiles)
        inputs = tuple(replace(entry, shape=tuple(dims.get(str(d), d) for d in entry.shape)) for entry in inputs)
    dataset = open_data(data, inputs, options.seed)
    return dataset, collect_cached(model, dataset)


def known(legal: Legal, data: tuple[Dataset, Statistics]) -> Known:
    """What calibration tells of a legalized model, the tensors that legalization made included."""
    from effc.calibration.known import Known

    return Known.of(legal.model, *data)


def quantized(
    legal: Legal, scheme: Scheme, known: Known, options: CalibrationOptions, keep: tuple[str, ...]
) -> Quantized:
    """Q/DQ written into a legalized model by its target's scheme."""
    from effc.calibration.bias_correction import correct
    from effc.calibration.quantize import quantize

    found = known.ranges(options.method, options.percentile, scheme.spacing)
    result = quantize(legal.model, found, scheme, keep_float=keep)
    if not any(node.op_type == "QuantizeLinear" for node in result.model.graph):
        raise _nothing_quantized(legal)
    return correct(result, legal.model, known.dataset) if options.bias_correction else result


def narrowed(
    typed: Typed, narrowing: Narrowing, known: Known | None, keep: tuple[str, ...], progress: Progress | None = None
) -> Typed:
    """Casts to float16 or bfloat16 written into a model whose Q/DQ, if any, are there already.

    Args:
        known: what calibration tells of the model without Q/DQ; without it, ranges that rewrites state have to do.
    """
    from effc.calibration.collect import stated_ranges
    from effc.calibration.delicate import narrow_observed
    from effc.compiler.passes.precision import narrow

    if known is None:
        result = narrow(typed.model, narrowing, stated_ranges(typed.model), keep)
    else:
        result = narrow_observed(typed.model, narrowing, known, keep, progress)
    quantized = {name: kind for name, kind in typed.precision.items() if kind != "float32"}
    types = {v.dtype.name.lower() for node in result.model.graph for v in node.outputs if v.dtype is not None}
    if not quantized and narrowing.dtype not in types:
        raise _nothing_narrow(typed.model, narrowing, result.kept)
    return Typed(result.model, {**typed.precision, **result.precision, **quantized}, result.kept)


def check_globs(globs: Iterable[str], models: Iterable[ir.Model]) -> None:
    """Raise BadInput for a `--keep-float` that matches no node of the models: most likely a slip of the pen."""
    names = {node.name or "" for model in models for node in model.graph}
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in names):
            hint = "`effc simplify` writes the model whose nodes are meant"
            raise BadInput(f"{glob!r} matches the name of no node", where="--keep-float", hint=hint)


def need_data(options: CalibrationOptions) -> DataOptions:
    """The calibration data. Raises BadInput where none is named."""
    if options.data is None:
        hint = "--calib data.npz (or, knowing that accuracy is lost, --calib random)"
        raise BadInput("a quantized target needs calibration data", where="--calib", hint=hint)
    return options.data


def _nothing_narrow(model: ir.Model, narrowing: Narrowing, kept: Mapping[str, str]) -> UnsupportedOps:
    """A float16 artifact that computes in float32 throughout would claim what it is not."""
    why = next(iter(kept.values()), "it computes no floats")
    reason = f"not one of its nodes can compute in {narrowing.dtype}: {why}"
    refusal = Refusal(model.graph.name or "graph", "model", reason, "build the fp32 target, or lower --min-sqnr")
    return UnsupportedOps(narrowing.dtype, [refusal])


def _nothing_quantized(legal: Legal) -> UnsupportedOps:
    """An int8 artifact without an int8 kernel would claim what it is not."""
    kinds = {v.dtype.name.lower() for n in legal.model.graph for v in n.outputs if v.dtype is not None}
    others = ", ".join(sorted(kinds & {"float16", "bfloat16", "double"}))
    hint = f"its tensors are {others}: export it in float32" if others else "build the float target"
    reason = "not one of its nodes can run quantized"
    return UnsupportedOps(str(legal.target), [Refusal(legal.model.graph.name or "graph", "model", reason, hint)])
