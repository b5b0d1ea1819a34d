"""Between the ONNX model's interface (its names, NCHW, float) and an artifact's own, as the manifest states it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from effc.core.errors import BadInput
from effc.core.manifest import Manifest, TensorInfo

Array = NDArray[np.generic]
Feeds = Mapping[str, Array]


@dataclass(frozen=True)
class Adapter:
    """Converts feeds on their way in and outputs on their way out."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> Adapter:
        """The adapter that a manifest's inputs and outputs ask for."""
        return cls(manifest.inputs, manifest.outputs)

    @property
    def batch(self) -> int | None:
        """Samples that one call takes exactly; None where any number will do."""
        dims = [info.shape[0] for info in self.inputs if info.shape]
        return next((dim for dim in dims if isinstance(dim, int)), None)

    def feed(self, feeds: Feeds) -> dict[str, Array]:
        """Feeds by ONNX name to feeds by the artifact's name, dtype and layout.

        Raises BadInput when one is absent or of another shape than the artifact takes.
        """
        given = match(tuple(feeds), [info.name for info in self.inputs])
        made = {info.name: into(feeds[given[info.name]], info) for info in self.inputs}
        for info in self.inputs:
            _check_shape(made[info.name], info)
        return made

    def calls(self, feeds: Feeds) -> Iterator[tuple[Feeds, int | None]]:
        """Cut feeds along the first axis into what one call takes; beside it how many samples to keep (None: all).

        The last batch repeats its last sample until it is full. Feeds that fit already, whatever their first axes
        mean (a recurrent state's counts layers), stay whole.
        """
        size, given = self.batch, match(tuple(feeds), [info.name for info in self.inputs])
        if size is None or all(_alike(feeds[given[info.name]], info) for info in self.inputs):
            yield feeds, None
            return
        count = samples(feeds)
        for start in range(0, count, size):
            rows = np.minimum(np.arange(start, start + size), count - 1)
            real = count - start if start + size > count else None
            yield {name: array[rows] for name, array in feeds.items()}, real

    def one(self, feeds: Feeds) -> dict[str, Array]:
        """The feeds of one call: of each input as many samples as it demands, else one."""
        given = match(tuple(feeds), [info.name for info in self.inputs])
        sizes = {given[info.name]: info.shape[0] for info in self.inputs if info.shape}
        return {name: array[: _length(sizes.get(name))] for name, array in feeds.items()}

    def fetch(self, outputs: Feeds, names: Sequence[str] = ()) -> dict[str, Array]:
        """The artifact's outputs by ONNX name (`names`, else the artifact's own), real-valued and channels first."""
        own = [info.name for info in self.outputs]
        wanted = match(own, names or own)
        infos = {info.name: info for info in self.outputs}
        return {name: out_of(outputs[wanted[name]], infos[wanted[name]]) for name in names or own}


def match(given: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """Each wanted name to the given one of the same name, else of the same position.

    Raises BadInput when the names differ and so does their number.
    """
    if set(wanted) <= set(given):
        return {name: name for name in wanted}
    if len(given) != len(wanted):
        raise BadInput(f"the tensors {sorted(wanted)} are wanted, and {sorted(given)} are there")
    return dict(zip(wanted, given, strict=True))


def into(values: Array, info: TensorInfo) -> Array:
    """A real-valued NCHW array as the artifact takes it: q = clip(round(x / scale) + zero_point) where quantized."""
    laid = np.moveaxis(values, 1, -1) if channels_last(info) and values.ndim > 1 else values
    dtype = np.dtype(info.dtype)
    if info.scale is None or values.dtype == dtype:
        return np.ascontiguousarray(laid.astype(dtype, copy=False))
    limits = np.iinfo(dtype)
    steps = np.rint(laid.astype(np.float32) / np.float32(info.scale)) + np.float32(info.zero_point or 0)
    return np.ascontiguousarray(np.clip(steps, limits.min, limits.max).astype(dtype))


def out_of(values: Array, info: TensorInfo) -> Array:
    """The inverse of `into`: x = (q - zero_point) * scale where quantized, channels moved to axis 1."""
    laid = np.moveaxis(values, -1, 1) if channels_last(info) else values
    if info.scale is None:
        return laid
    return np.asarray((laid.astype(np.float32) - np.float32(info.zero_point or 0)) * np.float32(info.scale))


def onnx_dims(info: TensorInfo) -> tuple[int | str, ...]:
    """The dims as the ONNX model has them, channels behind the samples."""
    return (info.shape[0], info.shape[-1], *info.shape[1:-1]) if channels_last(info) else info.shape


def channels_last(info: TensorInfo) -> bool:
    """Whether the layout is N...C with something between, where ONNX has NC..."""
    return len(info.layout) > 2 and info.layout[0] == "N" and info.layout[-1] == "C"


def samples(feeds: Feeds) -> int:
    """The length of the first axis, which all arrays must share. Raises BadInput naming them when they do not."""
    lengths = {name: array.shape[0] if array.ndim else 0 for name, array in feeds.items()}
    if len(set(lengths.values())) != 1:
        raise BadInput(f"the first axis should count the same samples everywhere: {lengths}")
    return next(iter(lengths.values()))


def _check_shape(array: Array, info: TensorInfo) -> None:
    fits = all(isinstance(want, str) or want == have for want, have in zip(info.shape, array.shape, strict=False))
    if len(array.shape) != len(info.shape) or not fits:
        layout = f" ({info.layout})" if info.layout else ""
        raise BadInput(
            f"input {info.name!r} has shape {list(array.shape)}, the artifact takes {list(info.shape)}{layout}"
        )


def _alike(array: Array, info: TensorInfo) -> bool:
    """Whether the array's first axis is the one that the artifact demands, or it demands none."""
    return not info.shape or isinstance(info.shape[0], str) or array.shape[:1] == info.shape[:1]


def _length(dim: int | str | None) -> int | None:
    return 1 if isinstance(dim, str) else dim
