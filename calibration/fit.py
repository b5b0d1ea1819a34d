"""Fit: whether samples suit a model's inputs, and how they become feeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from effc.compiler.oracle import Input
from effc.core.errors import BadInput

Array = NDArray[np.generic]
LABEL = "label"


@dataclass(frozen=True)
class Fit:
    """How the arrays of one set fill a model's inputs.

    Attributes:
        source: the data set's name, for errors.
        inputs: the model's inputs.
        arrays: for each input, the name of the array that fills it.
        stacked: for each input, whether samples lack its first axis and are stacked along it.
    """

    source: str
    inputs: tuple[Input, ...]
    arrays: tuple[str, ...]
    stacked: tuple[bool, ...]

    @property
    def batch_limit(self) -> int | None:
        """Samples that the model takes at once, where its inputs fix that."""
        if not all(self.stacked):
            return 1
        fixed = {i.shape[0] for i in self.inputs if isinstance(i.shape[0], int)}
        if len(fixed) > 1:
            what = f"the model's inputs fix different batch sizes {sorted(fixed)}"
            hint = "give the data the model's own shapes, one whole feed a sample, or build a float target without data"
            raise BadInput(what, where=self.source, hint=hint)
        return next((int(size) for size in fixed), None)

    def sample(self, sample: Mapping[str, Array], index: int) -> dict[str, Array]:
        """The sample by input name, in the inputs' dtypes. Raises BadInput where it does not fit or is not finite."""
        found = {}
        for entry, name, stacked in zip(self.inputs, self.arrays, self.stacked, strict=True):
            where = f"{self.source}: array {name!r}, sample {index}"
            if name not in sample:
                raise BadInput("the array is missing", where=where)
            array = np.asarray(sample[name])
            check_shape(array.shape, entry.shape[1:] if stacked else entry.shape, where)
            found[entry.name] = finite(convert(array, entry.dtype, where), where)
        return found

    def stack(self, samples: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """One feed of several samples."""
        return {
            entry.name: np.stack([s[entry.name] for s in samples]) if stacked else samples[0][entry.name]
            for entry, stacked in zip(self.inputs, self.stacked, strict=True)
        }

    def samples_in(self, feeds: Mapping[str, Array]) -> int:
        """How many samples a feed holds."""
        first = feeds[self.inputs[0].name]
        return len(first) if all(self.stacked) and first.ndim else 1


def fit(source: str, inputs: Sequence[Input], sample: Mapping[str, Array]) -> Fit:
    """Match the arrays of a first sample with the inputs by name; the lone array of a lone input may have any name.

    Raises BadInput naming the arrays that are missing or unknown.
    """
    given = [name for name in sample if name != LABEL]
    wanted = [entry.name for entry in inputs]
    names = given if len(given) == len(wanted) == 1 else wanted
    if missing := [name for name in names if name not in given]:
        raise BadInput(
            f"no array for the model's input {missing[0]!r}; there are {', '.join(given) or 'none'}",
            where=source,
            hint=f"name the arrays after the inputs: {', '.join(wanted)}; true labels are {LABEL!r}",
        )
    stacked = tuple(np.ndim(sample[name]) == len(entry.shape) - 1 for name, entry in zip(names, inputs, strict=True))
    return Fit(source, tuple(inputs), tuple(names), stacked)


def check_shape(found: Sequence[int], wanted: Sequence[int | str], where: str) -> None:
    """Raise BadInput unless the shapes agree; a symbol agrees with any size."""
    agree = len(found) == len(wanted) and all(isinstance(w, str) or f == w for f, w in zip(found, wanted, strict=True))
    if not agree:
        hint = "prepare the data for the model, or change the model's input with --shape, if it can take that"
        raise BadInput(f"its shape is {list(found)}, the model takes {list(wanted)}", where=where, hint=hint)


def convert(array: Array, dtype: np.dtype[np.generic], where: str) -> Array:
    """The array in the input's dtype; only changes that keep the kind and, for integers, the values."""
    if array.dtype == dtype:
        return array
    both_integers = array.dtype.kind in "iu" and dtype.kind in "iu"
    if not both_integers and array.dtype.kind != dtype.kind:
        raise BadInput(
            f"its dtype is {array.dtype}, the model takes {dtype}",
            where=where,
            hint="store preprocessed values in the model's dtype",
        )
    with np.errstate(over="ignore"):
        converted = array.astype(dtype)
    if both_integers and not np.array_equal(converted, array):
        raise BadInput(f"its values do not fit into {dtype}", where=where)
    return converted


def finite(array: Array, where: str) -> Array:
    """The array itself. Raises BadInput when it holds NaN or infinity."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadInput("a value is NaN or infinite", where=where)
    return array
