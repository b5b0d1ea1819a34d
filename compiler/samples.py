"""What a proof feeds to a model: sizes for open dims, random numbers, and those at which the graph goes another way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, product

import numpy as np

from effc.compiler import oracle
from effc.compiler.telling import Telling

_SIZES = (64, 96, 48, 32, 16, 224, 8, 7, 4, 3, 2, 1, 256, 512, 640, 1024, 4096, 16000)
_ALONE = (512, 256, 64)
_MOST_CHOICES = 8
_FEWER = (3, 2, 1)
"""Ends of random integers to try where a model takes no larger ones."""


@dataclass(frozen=True)
class Choice:
    """Numbers that some inputs take, at every `stride`-th of their elements; the others are random."""

    numbers: Mapping[str, int] = field(default_factory=dict)
    stride: int = 1


def sizes(inputs: Sequence[oracle.Input]) -> Iterator[dict[str, int]]:
    """Sizes for symbols: those on axis 0 are batches of 1 and 2, all others share one size, or one has it alone."""
    symbols = sorted({d for entry in inputs for d in entry.shape if isinstance(d, str)})
    batch = {entry.shape[0] for entry in inputs if entry.shape and isinstance(entry.shape[0], str)}
    inner = [s for s in symbols if s not in batch]
    if not symbols:
        yield {}
    elif not inner:
        yield from ({s: size for s in symbols} for size in (1, 2, 3, 4))
    else:
        for count, size in enumerate(_SIZES):
            yield {s: 1 + count % 2 if s in batch else size for s in symbols}
        for large, size in product(inner, _ALONE):
            yield {s: size if s == large else 1 for s in symbols}


def within_tables(entry: oracle.Input, told: Mapping[str, Telling]) -> oracle.Input:
    """The input, its random numbers no larger than the tables that it indexes allow."""
    limit = told[entry.name].below if entry.name in told else None
    return entry if limit is None else replace(entry, below=max(1, min(entry.below, limit)))


def smaller(inputs: Sequence[oracle.Input]) -> Iterator[tuple[oracle.Input, ...]]:
    """The inputs, then with smaller and smaller integers: lengths and indices that a model takes may be few."""
    most = max((entry.below for entry in inputs if entry.dtype.kind in "iu"), default=1)
    yield tuple(inputs)
    for below in (below for below in _FEWER if below < most):
        yield tuple(replace(entry, below=min(entry.below, below)) for entry in inputs)


def choices(inputs: Sequence[oracle.Input], told: Mapping[str, Telling]) -> tuple[Choice, ...]:
    """At most eight: every combination of the inputs' numbers, or else each input's in turn; then half as dense."""
    numbers = {entry.name: held for entry in inputs if entry.name in told and (held := _held(entry, told[entry.name]))}
    if not numbers:
        return ()
    if math.prod(map(len, numbers.values())) <= _MOST_CHOICES:
        combined = [dict(zip(numbers, each, strict=True)) for each in product(*numbers.values())]
    else:
        rounds = range(max(map(len, numbers.values())))
        combined = [{name: held[index % len(held)] for name, held in numbers.items()} for index in rounds]
    is_scalar = all(dim == 1 for entry in inputs if entry.name in numbers for dim in entry.shape)
    each = (Choice(one, stride) for stride in ((1,) if is_scalar else (1, 2)) for one in combined)
    return tuple(islice(each, _MOST_CHOICES))


def _held(entry: oracle.Input, told: Telling) -> list[int]:
    """The numbers that the input's type has."""
    if entry.dtype.kind not in "iub":
        return []
    least, most = (0, 1) if entry.dtype.kind == "b" else (np.iinfo(entry.dtype).min, np.iinfo(entry.dtype).max)
    return [number for number in told.numbers if least <= number <= most]


def feeds(inputs: Sequence[oracle.Input], seed: int, dims: Mapping[str, int], choice: Choice) -> oracle.Feeds:
    """The inputs of one run. Raises BadInput when one would be too large."""
    drawn = oracle.seeded_feeds(inputs, seed, dims)
    for name, number in choice.numbers.items():
        drawn[name].reshape(-1)[:: choice.stride] = number
    return drawn
