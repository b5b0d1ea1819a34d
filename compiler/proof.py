"""The proof: original and simplified model give the same outputs on seeded inputs, in the oracle."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from effc.compiler import oracle
from effc.compiler.metrics import sqnr_db
from effc.core import worker
from effc.core.errors import BackendFailed, BadInput, EffcError

if TYPE_CHECKING:
    from effc.compiler import ir

SEEDS = (0, 1)
LEAST_SQNR_DB = 90.0
LEAST_HALF_SQNR_DB = 40.0
DEADLINE_S = 300.0
_SIZES = (64, 96, 48, 32, 16, 224, 8, 7, 4, 3, 2, 1, 256, 512, 640, 1024, 4096, 16000)
_ALONE = (512, 256, 64)
_WANTED_SIZES = 2
_SATURATING = {"Sigmoid", "Softmax"}
_LOGITS = "\0logits"


@dataclass(frozen=True)
class Proof:
    """What was compared.

    Attributes:
        worst_sqnr_db: the lowest SQNR of any float output over all runs; infinite when all are equal.
        outputs: SQNR in dB of each output, its lowest; infinite for equal ones.
        seeds: the seeds of the inputs.
        dims: sizes that the symbolic dims took, one mapping a run.
    """

    worst_sqnr_db: float
    outputs: Mapping[str, float]
    seeds: tuple[int, ...]
    dims: tuple[Mapping[str, int], ...]


Outputs = dict[str, object]
Runs = list[tuple[dict[str, int], Outputs, Outputs]]


def prove(original: onnx.ModelProto | ir.Model, simplified: ir.Model, seeds: Sequence[int] = SEEDS) -> Proof:
    """Run both models in a child, on each seed and on two sizes of the symbolic dims, and compare what both give.

    Raises:
        EffcError: an output's SQNR is below 90 dB, or an output that is not float differs.
        BadInput: the original itself cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="effc-proof-") as folder:
        paths = [Path(folder) / name for name in ("original.onnx", "simplified.onnx")]
        _write(original, paths[0])
        _write(simplified, paths[1])
        inputs = {each.name: each for each in (*oracle.graph_inputs(original), *oracle.graph_inputs(simplified))}
        names = [v.name or "" for v in simplified.graph.outputs]
        function = "effc.compiler.proof:run_both"
        try:
            runs: Runs = worker.call(
                function, *paths, (*inputs.values(),), tuple(seeds), stage="proof", deadline=DEADLINE_S
            )
        except BackendFailed as error:
            raise BadInput(f"ONNX Runtime cannot run the model: {error.what}", hint=error.hint) from error
    worst = {name: min(_output(name, a, b) for _, a, b in runs) for name in names}
    return Proof(min(worst.values(), default=math.inf), worst, tuple(seeds), tuple(dims for dims, _, _ in runs))


def run_both(original: Path, simplified: Path, inputs: Sequence[oracle.Input], seeds: Sequence[int]) -> Runs:
    """(dims, original's outputs, simplified's outputs) for each seed and size. Runs in the child."""
    try:
        before = _Traced.of(original)
    except EffcError as error:
        raise BadInput(f"ONNX Runtime cannot load the model: {error.what}", hint=error.hint) from error
    after = _Traced.of(simplified)
    runs: Runs = []
    failure = "it has an input too large to try"
    sizes = 0
    for dims in _candidates(inputs):
        try:
            feeds = [oracle.seeded_feeds(inputs, seed, dims) for seed in seeds]
            results = [before.run(each) for each in feeds]
        except EffcError as error:
            failure = error.what
            continue
        runs += [(dims, a, after.run(each)) for a, each in zip(results, feeds, strict=True)]
        sizes += 1
        if sizes == _WANTED_SIZES:
            break
    if not runs:
        hint = "fix the open dims with --shape, so that the model can be run; --no-proof goes on without"
        raise BadInput(f"ONNX Runtime cannot run the model: {failure}", hint=hint)
    return runs


@dataclass(frozen=True)
class _Traced:
    """A session that also gives what enters a final Sigmoid or Softmax.

    Saturated outputs hold the runtime's rounding alone; there the logits tell whether two models agree.
    """

    session: oracle.Session
    logits: Mapping[str, str]

    @classmethod
    def of(cls, path: Path) -> _Traced:
        graph = onnx.load(str(path), load_external_data=False).graph
        makers = {name: node for node in graph.node for name in node.output}
        names = [v.name for v in graph.output]
        final = {n: makers[n].input[0] for n in names if n in makers and makers[n].op_type in _SATURATING}
        return cls(oracle.Session(path, outputs=list(dict.fromkeys([*names, *final.values()]))), final)

    def run(self, feeds: oracle.Feeds) -> Outputs:
        taken = {each.name for each in self.session.inputs}
        found: Outputs = dict(self.session.run({name: array for name, array in feeds.items() if name in taken}))
        return found | {name + _LOGITS: found[inner] for name, inner in self.logits.items()}


def _candidates(inputs: Sequence[oracle.Input]) -> Iterator[dict[str, int]]:
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


def _write(model: onnx.ModelProto | ir.Model, path: Path) -> None:
    """Weights that lie in files stay there."""
    if not isinstance(model, onnx.ModelProto):
        from effc.compiler import stored

        model = stored.sketch(model, path.with_suffix(".data"))
    path.write_bytes(model.SerializeToString())


def _output(name: str, original: Outputs, simplified: Outputs) -> float:
    """SQNR in dB of one output, or of the logits that it saturates where those tell more."""
    logits = name + _LOGITS
    figure = _agreement(name, original[name], simplified[name])
    if figure < LEAST_SQNR_DB and logits in original and logits in simplified:
        figure = _agreement(name, original[logits], simplified[logits])
    least = _least(original[name])
    if figure < least:
        what = f"simplification changed it: SQNR {figure:.1f} dB, at least {least:.0f} are needed"
        raise EffcError(what, where=f"output {name!r}")
    return figure


def _least(output: object) -> float:
    """Half-precision outputs hold 11 bits or less, so equal computations in another order differ more."""
    return LEAST_SQNR_DB if all(a.dtype.itemsize > 2 for a in _arrays(output)) else LEAST_HALF_SQNR_DB


def _agreement(name: str, original: object, simplified: object) -> float:
    """SQNR in dB of one output (the lowest of a sequence's). EffcError where types, shapes, integers differ."""
    pairs = list(zip(_arrays(original), _arrays(simplified), strict=False))
    if len(pairs) != len(_arrays(original)) or len(pairs) != len(_arrays(simplified)):
        raise EffcError("simplification changed the number of elements", where=f"output {name!r}")
    return min((_array_agreement(name, a, b) for a, b in pairs), default=math.inf)


def _arrays(output: object) -> list[np.ndarray]:
    if isinstance(output, list | tuple):
        return [array for each in output for array in _arrays(each)]
    return [] if output is None else [np.asarray(output)]


def _array_agreement(name: str, a: np.ndarray, b: np.ndarray) -> float:
    where = f"output {name!r}"
    if a.shape != b.shape or a.dtype != b.dtype:
        raise EffcError(f"simplification made {b.dtype}{list(b.shape)} of {a.dtype}{list(a.shape)}", where=where)
    if a.dtype.kind not in "fV":
        if not np.array_equal(a, b):
            raise EffcError(f"simplification changed {int(np.sum(a != b))} of {a.size} values", where=where)
        return math.inf
    return sqnr_db(a, b)
