"""Between the ONNX model's interface (its names, NCHW, float) and an artifact's own, as the manifest states it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import ml_dtypes  # noqa: F401  (NumPy knows bfloat16 by its name then)
import numpy as np
from numpy.typing import NDArray

from effc.core.errors import BadInput
from effc.core.manifest import Manifest, TensorInfo
from effc.core.options import Profile
from effc.core.profiles import batches, covering, covers

Array = NDArray[np.generic]
Feeds = Mapping[str, Array]


@dataclass(frozen=True)
class Adapter:
    """Converts feeds on their way in and outputs on their way out.

    Attributes:
        profiles: the dims that inputs of symbolic shape may have; none where any will do.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    profiles: tuple[Profile, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest) -> Adapter:
        """The adapter that a manifest's inputs, outputs and profiles ask for."""
        return cls(manifest.inputs, manifest.outputs, manifest.profiles)

    @property
    def batch(self) -> int | None:
        """Samples that one call takes exactly; None where any number will do."""
        dims = [info.shape[0] for info in self.inputs if info.shape]
        return next((dim for dim in dims if isinstance(dim, int)), None)

    def feed(self, feeds: Feeds) -> dict[str, Array]:
        """Feeds by ONNX name to feeds by the artifact's name, dtype and layout.

        Raises BadInput when one is absent or of another shape than the artifact, or any of its profiles, takes.
        """
        given = match(tuple(feeds), [info.name for info in self.inputs])
        made = {info.name: into(feeds[given[info.name]], info) for info in self.inputs}
        for info in self.inputs:
            _check_shape(made[info.name], info)
        covering(self.profiles, {name: array.shape for name, array in made.items()})
        return made

    def calls(self, feeds: Feeds) -> Iterator[tuple[Feeds, int | None]]:
        """Cut feeds along the first axis into what one call takes; beside it how many samples to keep (None: all).

        The last batch repeats its last sample until it is full. Feeds that fit already, whatever their first axes
        mean (a recurrent state's counts layers), stay whole. Raises BadInput for shapes that no profile covers.
        """
        ranges = self._ranges(feeds)
        if not ranges:
            yield feeds, None
            return
        start, count = 0, samples(feeds)
        while start < count:
            size = _next(ranges, count - start)
            rows = np.minimum(np.arange(start, start + size), count - 1)
            real = count - start if start + size > count else None
            yield {name: array[rows] for name, array in feeds.items()}, real
            start += size

    def _ranges(self, feeds: Feeds) -> list[tuple[int, int]]:
        """How many samples one call takes, least and most, in each way that it can be; none where all fit at once."""
        given, size = match(tuple(feeds), [info.name for info in self.inputs]), self.batch
        shapes = {info.name: feeds[given[info.name]].shape for info in self.inputs}
        if not all(_alike(feeds[given[info.name]], info) for info in self.inputs):
            return [] if size is None else [(size, size)]
        if not self.profiles or any(covers(profile, shapes) for profile in self.profiles):
            return []
        return batches(self.profiles, shapes)

    def one(self, feeds: Feeds) -> dict[str, Array]:
        """The feeds of one call: of each input as many samples as it demands, or a profile does, else one."""
        given = match(tuple(feeds), [info.name for info in self.inputs])
        sizes = {given[info.name]: info.shape[0] for info in self.inputs if info.shape}
        single = {name: array[: _length(sizes.get(name))] if array.ndim else array for name, array in feeds.items()}
        return dict(next(self.calls(single))[0])

    def fetch(self, outputs: Feeds, names: Sequence[str] = ()) -> dict[str, Array]:
        """The artifact's outputs by ONNX name (`names`, else the artifact's own), real-valued and channels first."""
        own = [info.name for info in self.outputs]
        wanted = match(own, names or own)
        infos = {info.name: info for info in self.outputs}
        return {name: out_of(outputs[wanted[name]], infos[wanted[name]]) for name in names or own}


def _next(ranges: Sequence[tuple[int, int]], left: int) -> int:
    """Samples of the next call: all that are left, else as many as one call takes, else the fewest that it takes."""
    if any(low <= left <= high for low, high in ranges):
        return left
    most = [high for _, high in ranges if high < left]
    return max(most) if most else min(low for low, _ in ranges)


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
        return np.asarray(laid.astype(dtype, copy=False), order="C")  # a scalar stays one
    limits = np.iinfo(dtype)
    steps = np.rint(laid.astype(np.float32) / np.float32(info.scale)) + np.float32(info.zero_point or 0)
    return np.asarray(np.clip(steps, limits.min, limits.max).astype(dtype), order="C")


def out_of(values: Array, info: TensorInfo) -> Array:
    """The inverse of `into`: x = (q - zero_point) * scale where quantized, channels moved to axis 1.

    What NumPy has no arithmetic and no files for, bfloat16, becomes float32.
    """
    laid = np.moveaxis(values, -1, 1) if channels_last(info) else values
    if info.scale is None:
        return laid.astype(np.float32) if laid.dtype.kind == "V" else laid
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
