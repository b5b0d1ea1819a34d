"""Bias correction: quantization shifts the mean of a layer's output, E[y_q] - E[y]; its bias takes the shift back.

Nagel et al., 2019, "Data-free quantization through weight equalization and bias correction", the empirical form:
layers are corrected in graph order, each with all earlier ones quantized and corrected. Two refinements: values that
an activation behind the layer cuts off in both models do not count, as nobody sees their error; and a shift counts
only as far as it exceeds its own standard error over the samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from effc.calibration.collect import batch_size
from effc.calibration.pieces import Feeds, walk
from effc.calibration.quantize import Layer, Quantized
from effc.calibration.readers import Dataset
from effc.calibration.weights import quantize_bias
from effc.compiler import ir
from effc.compiler.passes.fuse import bounds
from effc.compiler.passes.rewrite import only_reader

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

SAMPLES = 32
_HELD_BYTES = 1 << 28
_VISIBLE = {"HardSwish": (-3.0, math.inf), "HardSigmoid": (-3.0, 3.0)}


def correct(quantized: Quantized, model: ir.Model, dataset: Dataset, samples: int = SAMPLES) -> Quantized:
    """Correct the biases of `quantized.model`, in place, and return it.

    Args:
        model: the float model that was quantized.
        samples: at most so many of the data set, fewer where the tensors of one cut would take over 256 MiB.
    """
    feeds = _feeds(model, dataset, samples)
    names = [layer.node for layer in quantized.layers]
    by_name = {node.name: node for node in model.graph}
    pairs = zip(walk(model, names, feeds), walk(quantized.model, names, feeds), strict=True)
    for layer, (floats, outputs) in zip(quantized.layers, pairs, strict=True):
        shift = mean_shift(floats, outputs, layer.axis, visible(by_name[layer.node]))
        moved = _shift_bias(quantized.model, layer, shift)
        for output in outputs:
            np.add(output, _along(moved, layer.axis, output.ndim), out=output)
    return quantized


def visible(node: ir.Node) -> tuple[float, float]:
    """The interval outside of which the activation that alone takes the node's output is constant."""
    everything, follower = (-math.inf, math.inf), only_reader(node.outputs[0])
    return everything if follower is None else bounds(follower) or _VISIBLE.get(follower.op_type, everything)


def mean_shift(
    floats: Sequence[Singles], outputs: Sequence[Singles], axis: int, interval: tuple[float, float]
) -> Floats:
    """By how much each channel of `outputs` lies below `floats`, shape [channels].

    Positions that are below or above `interval` in both count as equal. The mean m of n samples is shrunk to
    m * max(0, 1 - var / (n m^2)) (positive-part James-Stein).
    """
    sums, counts = zip(*(_sample_sums(x, y, axis, interval) for x, y in zip(floats, outputs, strict=True)), strict=True)
    total, number = np.concatenate(sums), np.concatenate(counts)
    samples, weight = len(total), np.maximum(number.sum(axis=0), 1.0)
    mean = total.sum(axis=0) / weight
    spread = np.square(total - mean * number).sum(axis=0) / np.square(weight) * (samples / max(samples - 1, 1))
    return np.asarray(mean * np.maximum(0.0, 1.0 - spread / np.maximum(np.square(mean), 1e-30)))


def _sample_sums(x: Singles, y: Singles, axis: int, interval: tuple[float, float]) -> tuple[Floats, Floats]:
    """Sums of x - y over the visible positions and their number, both [samples, channels]."""
    lo, hi = interval
    low = np.minimum(x, y) < hi if math.isfinite(hi) else True
    seen = (np.maximum(x, y) > lo) & low
    seen = np.broadcast_to(seen, x.shape)
    return _per_sample(np.where(seen, x - y, np.float32(0)), axis), _per_sample(seen.astype(np.float32), axis)


def _per_sample(array: Singles, axis: int) -> Floats:
    moved = np.moveaxis(array, axis, 1) if array.ndim > 1 else array.reshape(1, -1)
    flat = moved.reshape(*moved.shape[:2], -1)
    return np.asarray(flat.sum(axis=2, dtype=np.float32), np.float64)


def _shift_bias(model: ir.Model, layer: Layer, shift: Floats) -> Floats:
    """Add the shift to the layer's bias; what was added after rounding, [channels]."""
    holder = model.graph.initializers[layer.bias]
    old = np.asarray(ir.const(holder))
    scale = 1.0 if layer.scale is None else layer.scale
    new = (old + shift).astype(np.float32) if layer.scale is None else quantize_bias(old * scale + shift, layer.scale)
    holder.const_value = onnx_ir.tensor(new, name=layer.bias)
    return np.asarray((new.astype(np.float64) - old) * scale)


def _along(vector: Floats, axis: int, rank: int) -> Singles:
    """The vector shaped to broadcast along `axis`."""
    return vector.astype(np.float32).reshape([-1 if i == axis % rank else 1 for i in range(rank)])


def _feeds(model: ir.Model, dataset: Dataset, samples: int) -> list[Feeds]:
    """The first samples in batches."""
    largest = max((_bytes(v) for n in model.graph for v in n.outputs), default=1)
    samples = max(1, min(samples, _HELD_BYTES // (4 * largest)))
    found, count = [], 0
    for feeds in dataset.batches(min(samples, batch_size(model, dataset))):
        found.append(feeds)
        count += dataset.samples_in(feeds)
        if count >= samples:
            break
    return found


def _bytes(value: ir.Value) -> int:
    return 4 * int(np.prod([d if isinstance(d, int) else 1 for d in ir.shape(value) or ()]))
