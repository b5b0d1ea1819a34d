"""Collect: one streaming pass over a data set, statistics of every float activation in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from effc.calibration.observers import BINS, Array, Observer
from effc.calibration.readers import Dataset
from effc.calibration.statistics import Statistics
from effc.compiler import ir
from effc.compiler.oracle import Session
from effc.compiler.ranges import Range
from effc.core.cache import cache_folder
from effc.core.errors import BadInput

RANGE_PROPERTY = ir.RANGE_PROPERTY
_FORMAT = 1
_ACTIVATION_BYTES = 1 << 26
_MAX_BATCH = 32
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)


def collect(model: ir.Model, dataset: Dataset, *, tensors: Sequence[str] | None = None) -> Statistics:
    """Statistics of `tensors` (all float activations when None) over the whole data set.

    The model runs in ONNX Runtime without optimizations while the previous batch is being counted.

    Raises BadInput when a value is NaN or infinite (tensor, producing node and sample are named), or the set is empty.
    """
    names = float_tensors(model) if tensors is None else tuple(tensors)
    observers = {name: Observer() for name in names}
    for start, batch in _activations(model, dataset, names):
        for name in names:
            if not observers[name].update(batch[name]):
                raise _not_finite(model, name, start + _first_bad(batch[name], dataset.samples_in(batch)))
    found = {name: o.result() for name, o in sorted(observers.items()) if o.lo <= o.hi}
    return Statistics(found, len(dataset))


def collect_cached(model: ir.Model, dataset: Dataset, *, folder: Path | None = None) -> Statistics:
    """`collect`, kept in the cache folder under the hash of model and data."""
    key = f"{ir.digest(model)} {dataset.sha256} {len(dataset)} {BINS} {_FORMAT}"
    path = (folder or cache_folder()) / "statistics" / f"{hashlib.sha256(key.encode()).hexdigest()}.npz"
    with suppress(BadInput):  # not there, or damaged: made again
        return Statistics.load(path)
    found = collect(model, dataset)
    with suppress(BadInput):  # a cache that cannot be written costs time at the next build, not this one
        found.save(path)
    return found


def complete(statistics: Statistics, model: ir.Model, dataset: Dataset) -> Statistics:
    """Statistics that also cover the tensors that legalization made; those without a stated range are measured.

    A tensor whose `metadata_props["effc.range"]` is `same:<name>` takes that tensor's statistics.
    """
    known = dict(statistics.tensors)
    stated = stated_ranges(model)
    for name, source in same_as(model).items():
        if name not in known and source in known:
            known[name] = known[source]
    missing = [name for name in float_tensors(model) if name not in known and name not in stated]
    if missing:
        known |= collect(model, dataset, tensors=missing).tensors
    return Statistics({name: known[name] for name in sorted(known)}, statistics.samples)


def float_tensors(model: ir.Model) -> tuple[str, ...]:
    """Names of the graph inputs and node outputs that hold floats and depend on an input, in graph order."""
    varying: set[ir.Value] = set(model.graph.inputs)
    for node in model.graph:
        if any(value in varying for value in node.inputs):
            varying.update(node.outputs)
    ordered = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    used = (v for v in ordered if v in varying and v.dtype in _FLOATS and (v.uses() or v.is_graph_output()))
    return tuple(v.name for v in used if v.name)


def stated_ranges(model: ir.Model) -> dict[str, Range]:
    """Ranges that a rewrite fixed with `effc.range` = `<lo>,<hi>`."""
    found = {}
    for name, text in _properties(model):
        if not text.startswith("same:") and text != ir.NO_RANGE:
            lo, _, hi = text.partition(",")
            found[name] = Range(float(lo), float(hi))
    return found


def same_as(model: ir.Model) -> dict[str, str]:
    """Tensors that `effc.range` = `same:<name>` ties to another, with that name."""
    return {name: text.removeprefix("same:") for name, text in _properties(model) if text.startswith("same:")}


def kept_float(model: ir.Model) -> frozenset[str]:
    """Tensors that a rewrite wants in floats, with `effc.range` = `none`."""
    return frozenset(name for name, text in _properties(model) if text == ir.NO_RANGE)


def batch_size(model: ir.Model, dataset: Dataset) -> int:
    """As many samples at once as keep all activations within _ACTIVATION_BYTES."""
    if dataset.batch_limit is not None:
        return dataset.batch_limit
    return fitting(model)


def fitting(model: ir.Model) -> int:
    """How many samples' activations fit into _ACTIVATION_BYTES, at least 1 and at most _MAX_BATCH."""
    elements = sum(_elements(value) for node in model.graph for value in node.outputs)
    return max(1, min(_MAX_BATCH, _ACTIVATION_BYTES // (4 * max(elements, 1))))


def _elements(value: ir.Value) -> int:
    """Elements for one sample; unknown dims count as 1."""
    product = 1
    for dim in ir.shape(value) or ():
        product *= dim if isinstance(dim, int) else 1
    return product


def _activations(model: ir.Model, dataset: Dataset, names: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Array]]]:
    """(index of the first sample, tensors by name) of each batch; one batch ahead is running meanwhile."""
    inputs = {v.name for v in model.graph.inputs}
    session = Session(model, outputs=[n for n in names if n not in inputs] or None)

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {**feeds, **session.run(feeds)}

    with ThreadPoolExecutor(1) as ahead:
        pending, start = None, 0
        for feeds in dataset.batches(batch_size(model, dataset)):
            following = ahead.submit(run, feeds)
            if pending is not None:
                yield pending[0], pending[1].result()
            pending, start = (start, following), start + dataset.samples_in(feeds)
        if pending is None:
            raise BadInput("it holds no samples", where=dataset.name)
        yield pending[0], pending[1].result()


def _first_bad(batch: Array, samples: int) -> int:
    """Index within the batch of the first sample that is not finite."""
    if not batch.ndim or batch.shape[0] != samples:
        return 0
    return int(np.argmin(np.isfinite(batch.reshape(samples, -1)).all(axis=1)))


def _not_finite(model: ir.Model, name: str, sample: int) -> BadInput:
    makers = [n for n in model.graph if any(v.name == name for v in n.outputs)]
    by = f", made by {makers[0].op_type} {makers[0].name!r}," if makers else ""
    return BadInput(
        f"tensor {name!r}{by} is NaN or infinite for sample {sample}",
        where=model.graph.name or "model",
        hint="look at that sample, and at the node's inputs; keep the node out of quantization if this is meant",
    )


def _properties(model: ir.Model) -> Iterable[tuple[str, str]]:
    for node in model.graph:
        for value in node.outputs:
            if value.name and (text := value.metadata_props.get(RANGE_PROPERTY)):
                yield value.name, text
