"""Readers: calibration and evaluation data as batches of arrays, streamed in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from effc.calibration.arrays import Array, load_npy, load_npz, open_npz
from effc.calibration.fit import LABEL, Fit, fit
from effc.calibration.preprocess import IMAGE_SUFFIXES, Preprocess
from effc.compiler.oracle import Input, seeded_feeds
from effc.core import function
from effc.core.errors import BadInput
from effc.core.files import sha256 as file_sha256
from effc.core.options import DataOptions

RANDOM = "random"
RANDOM_SAMPLES = 32
PREPROCESS_FILE = "preprocess.toml"
_ARRAY_SUFFIXES = frozenset({".npy", ".npz"})

Sample = Mapping[str, Array]


class InputInfo(Protocol):
    """A model input: what `oracle.Input` and the manifest's TensorInfo have in common."""

    @property
    def name(self) -> str:
        """The input's name."""

    @property
    def dtype(self) -> object:
        """NumPy dtype or its name."""

    @property
    def shape(self) -> tuple[int | str, ...]:
        """Dims, the first one samples."""


@dataclass(frozen=True)
class _Source:
    """Where samples come from: `samples` starts a fresh pass over them, each without the sample axis."""

    sha256: str
    length: int
    labels: Array | None
    samples: Callable[[], Iterator[Sample]]


@dataclass(frozen=True)
class Dataset:
    """Samples for a model's inputs.

    Attributes:
        name: what the user called it.
        sha256: hash of its content.
        labels: array [samples], or None.
    """

    name: str
    sha256: str
    labels: Array | None
    _source: _Source
    _fit: Fit

    def __len__(self) -> int:
        return self._source.length

    @property
    def batch_limit(self) -> int | None:
        """Samples that the model takes at once where it fixes that, else None."""
        return self._fit.batch_limit

    def batches(self, size: int) -> Iterator[dict[str, Array]]:
        """Feeds of `size` samples; the last one may hold fewer, or is left out where the model fixes the batch.

        Raises BadInput naming set, array and sample where a value is NaN, infinite or of another shape.
        """
        size = self.batch_limit or size
        held: list[dict[str, Array]] = []
        for index, sample in zip(range(len(self)), self._source.samples(), strict=False):
            held.append(self._fit.sample(sample, index))
            if len(held) == size:
                yield self._fit.stack(held)
                held = []
        if held and self.batch_limit is None:
            yield self._fit.stack(held)

    def samples_in(self, feeds: Mapping[str, Array]) -> int:
        """How many samples a batch holds."""
        return self._fit.samples_in(feeds)


def open_data(options: DataOptions, inputs: Sequence[InputInfo], seed: int = 0) -> Dataset:
    """Open what `options.spec` names: a .npz, a folder of images or arrays, `module:function`, or "random".

    Raises BadInput where it is missing, empty, or does not fit the inputs.
    """
    if not inputs:
        raise BadInput("the model has no input that data could feed", where=options.spec, hint="leave the data out")
    wanted = tuple(Input(i.name, np.dtype(i.dtype), tuple(i.shape)) for i in inputs)  # type: ignore[call-overload]
    source = _limited(_source(options, wanted, seed), options.limit)
    first = next(source.samples(), None)
    if not source.length or first is None:
        raise BadInput("it holds no samples", where=options.spec)
    matched = fit(options.spec, wanted, first)
    matched.sample(first, 0)
    if matched.batch_limit and source.length < matched.batch_limit:
        raise BadInput(f"{source.length} samples, the model takes {matched.batch_limit} at once", where=options.spec)
    source = _limited(source, source.length - source.length % (matched.batch_limit or 1))
    return Dataset(options.spec, source.sha256, source.labels, source, matched)


def _source(options: DataOptions, inputs: Sequence[Input], seed: int) -> _Source:
    path = Path(options.spec)
    if options.spec == RANDOM:
        return _random(options.limit or RANDOM_SAMPLES, inputs, seed)
    if options.spec and path.is_dir():
        return _folder(path, options, inputs)
    if path.is_file():
        return _npz(path)
    if ":" in options.spec and not path.suffix:
        return _function(options.spec, options.limit)
    raise BadInput("there is no such data", where=options.spec, hint="a .npz, a folder, module:function, or random")


def _limited(source: _Source, limit: int | None) -> _Source:
    if limit is None or limit >= source.length:
        return source
    labels = None if source.labels is None else source.labels[:limit]
    digest = hashlib.sha256(f"{source.sha256} first {limit}".encode()).hexdigest()
    return _Source(digest, limit, labels, source.samples)


def _npz(path: Path) -> _Source:
    members = open_npz(path)
    if not members.keys() - {LABEL}:
        raise BadInput("it holds no array for an input", where=str(path))
    lengths = {m.name: m.shape[0] for m in members.values()}
    if len(set(lengths.values())) > 1:
        listing = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise BadInput(f"its arrays differ in their number of samples ({listing})", where=str(path))

    def samples() -> Iterator[Sample]:
        streams = {name: member.rows() for name, member in members.items() if name != LABEL}
        for rows in zip(*streams.values(), strict=True):
            yield dict(zip(streams, rows, strict=True))

    labels = members[LABEL].whole() if LABEL in members else None
    return _Source(file_sha256(path), next(iter(lengths.values())), labels, samples)


def _folder(path: Path, options: DataOptions, inputs: Sequence[Input]) -> _Source:
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES | _ARRAY_SUFFIXES and p.is_file())
    if not files:
        raise BadInput("the folder holds no images and no arrays", where=str(path))
    labels = _classes(path, files)
    if any(p.suffix.lower() in _ARRAY_SUFFIXES for p in files):
        own = [_file_label(p) for p in files]
        labels = np.asarray(own) if all(label is not None for label in own) else labels
        return _Source(
            _hash_files(path, files, ""), len(files), labels, lambda: (_file_sample(p, inputs) for p in files)
        )
    spec = _preprocess(path, options)
    name = inputs[0].name
    return _Source(_hash_files(path, files, repr(spec)), len(files), labels, lambda: ({name: spec(p)} for p in files))


def _preprocess(folder: Path, options: DataOptions) -> Preprocess:
    if options.preprocess.endswith(".toml"):
        return Preprocess.load(Path(options.preprocess))
    if options.preprocess:
        return Preprocess.parse(options.preprocess)
    if (folder / PREPROCESS_FILE).is_file():
        return Preprocess.load(folder / PREPROCESS_FILE)
    raise BadInput("nothing says how its images are preprocessed", where=str(folder), hint="--preprocess resize=...")


def _classes(root: Path, files: Sequence[Path]) -> Array | None:
    """Indices of the sub-folders that the files lie in, sorted by name; numeric names are the labels themselves."""
    names = [p.relative_to(root).parts[0] if len(p.relative_to(root).parts) > 1 else "" for p in files]
    if "" in names:
        return None
    known = sorted(set(names))
    if all(name.isdigit() for name in known):
        return np.array([int(name) for name in names], np.int64)
    return np.array([known.index(name) for name in names], np.int64)


def _file_sample(path: Path, inputs: Sequence[Input]) -> Sample:
    """One sample from a file of its own, with or without a leading axis of 1."""
    if path.suffix.lower() == ".npy":
        return {inputs[0].name: _drop_axis(load_npy(path), inputs[0])}
    arrays = load_npz(path, lambda name: name != LABEL)
    by_name = {i.name: i for i in inputs}
    return {name: _drop_axis(array, by_name.get(name, inputs[0])) for name, array in arrays.items()}


def _drop_axis(array: Array, entry: Input) -> Array:
    return array[0] if array.ndim == len(entry.shape) and array.ndim and array.shape[0] == 1 else array


def _file_label(path: Path) -> object:
    if path.suffix.lower() == ".npy":
        return None
    found = load_npz(path, lambda name: name == LABEL)
    return np.ravel(found[LABEL])[0] if LABEL in found else None


def _hash_files(root: Path, files: Sequence[Path], extra: str) -> str:
    digest = hashlib.sha256(extra.encode())
    for path in files:
        digest.update(f"{path.relative_to(root)}\0{file_sha256(path)}\0".encode())
    return digest.hexdigest()


def _function(spec: str, limit: int | None) -> _Source:
    """A generator function; it is run once to count and hash, and again for each pass."""
    maker = function.load(spec, spec)
    digest, labels, length = hashlib.sha256(), [], 0
    for sample in _yielded(maker, spec):
        if limit is not None and length == limit:
            break
        length += 1
        labels += [np.asarray(sample[LABEL])] if LABEL in sample else []
        for key in sorted(sample):
            array = np.ascontiguousarray(sample[key])
            digest.update(f"{key} {array.dtype} {array.shape}\0".encode() + array.tobytes())
    with function.told(f"{spec}: {LABEL!r}"):
        known = np.array(labels) if length and len(labels) == length else None
    return _Source(digest.hexdigest(), length, known, lambda: _yielded(maker, spec))


def _yielded(maker: Callable[[], Iterable[Sample]], spec: str) -> Iterator[Sample]:
    with function.told(spec):
        for sample in maker():
            if not isinstance(sample, Mapping):
                raise BadInput(f"it yields {type(sample).__name__}, not a dict of arrays", where=spec)
            yield {name: np.asarray(array) for name, array in sample.items()}


def _random(count: int, inputs: Sequence[Input], seed: int) -> _Source:
    def samples() -> Iterator[Sample]:
        for index in range(count):
            drawn = seeded_feeds([Input(i.name, i.dtype, (1, *i.shape[1:])) for i in inputs], seed + index)
            yield {name: array[0] if array.ndim else array for name, array in drawn.items()}

    return _Source(hashlib.sha256(f"random {seed}".encode()).hexdigest(), count, None, samples)
