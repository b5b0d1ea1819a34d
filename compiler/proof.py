"""The proof: original and simplified model give the same outputs on seeded inputs, in the oracle."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx_ir import TensorType

from effc.compiler import mapped, oracle, samples
from effc.compiler.metrics import sqnr_db
from effc.compiler.samples import Choice
from effc.compiler.telling import merged, telling
from effc.core import worker
from effc.core.errors import BackendFailed, BadInput, EffcError
from effc.core.host import memory_mb
from effc.core.limits import DATA, limited

if TYPE_CHECKING:
    from effc.compiler import ir

SEEDS = (0, 1)
LEAST_SQNR_DB = 90.0
LEAST_HALF_SQNR_DB = 40.0
DEADLINE_S = 300.0
_WANTED_SIZES = 2
_MOST_FAILURES = 40
_LEAST_MEMORY = 2 << 30
_COPIES = 2
"""How often both models may lie in memory: as they are, and in the layout that kernels like best."""
_HINT = "--no-proof goes on without"
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
Run = tuple[dict[str, int], Outputs, Outputs]
Runs = list[Run]


def prove(original: onnx.ModelProto | ir.Model, simplified: ir.Model, seeds: Sequence[int] = SEEDS) -> Proof:
    """Run both models in a child, on each seed and on two sizes of the symbolic dims, and compare what both give.

    Integer inputs also take the numbers at which either graph may go another way, as far as the original runs so.

    Raises:
        EffcError: an output's SQNR is below 90 dB, or an output that is not float differs.
        BadInput: the original itself cannot be run.
    """
    if unknown := next((v.name for v in simplified.graph.inputs if not isinstance(v.type, TensorType)), None):
        raise BadInput("no samples of sequences or optional values are drawn", where=f"input {unknown!r}", hint=_HINT)
    with tempfile.TemporaryDirectory(prefix="effc-proof-") as folder:
        paths = [Path(folder) / name for name in ("original.onnx", "simplified.onnx")]
        written = [_write(model, path) for model, path in zip((original, simplified), paths, strict=True)]
        told = merged(*(telling(model.graph) for model in written))
        given = {each.name: each for each in (*oracle.graph_inputs(simplified), *oracle.graph_inputs(original))}
        inputs = tuple(samples.within_tables(each, told) for each in given.values())
        names = [v.name or "" for v in simplified.graph.outputs]
        function = "effc.compiler.proof:run_both"
        try:
            plan = Plan(inputs, tuple(seeds), samples.choices(inputs, told), memory(_bytes(written)))
            runs: Runs = worker.call(function, *paths, plan, stage="proof", deadline=DEADLINE_S)
        except BackendFailed as error:
            raise BadInput(f"ONNX Runtime cannot run the model: {error.what}", hint=error.hint or _HINT) from error
    worst = {name: min(_output(name, a, b) for _, a, b in runs) for name in names}
    return Proof(min(worst.values(), default=math.inf), worst, tuple(seeds), tuple(dims for dims, _, _ in runs))


@dataclass(frozen=True)
class Plan:
    """What is run, and the bytes that the child may hold."""

    inputs: tuple[oracle.Input, ...]
    seeds: tuple[int, ...]
    choices: tuple[Choice, ...]
    memory: int


def memory(size: int) -> int:
    """Bytes that the child may hold for models of so many bytes together: half of the machine beside them."""
    return max(_LEAST_MEMORY, (memory_mb() or 0) * 1_000_000 // 2) + _COPIES * size


def _bytes(models: Sequence[onnx.ModelProto]) -> int:
    return sum(model.ByteSize() + mapped.referred(model.graph.initializer) for model in models)


def run_both(original: Path, simplified: Path, plan: Plan) -> Runs:
    """(dims, original's outputs, simplified's outputs) for each seed and size, and each choice. Runs in the child."""
    with limited(plan.memory, DATA):
        return _runs(original, simplified, plan)


def _runs(original: Path, simplified: Path, plan: Plan) -> Runs:
    try:
        before = _Traced.of(original)
    except EffcError as error:
        raise BadInput(f"ONNX Runtime cannot load the model: {error.what}", hint=error.hint) from error
    after = _Traced.of(simplified)
    for inputs in samples.smaller(plan.inputs):
        pair = _Pair(before, after, inputs)
        runs, failure = _drawn(pair, plan.seeds)
        if runs:
            break
    runs += _chosen(pair, plan.seeds[0], plan.choices, [dims for dims, _, _ in runs])
    if not runs:
        is_open = any(isinstance(dim, str) for entry in plan.inputs for dim in entry.shape)
        hint = f"fix the open dims with --shape, so that the model can be run; {_HINT}" if is_open else _HINT
        raise BadInput(f"ONNX Runtime cannot run the model: {failure}", hint=hint)
    return runs


def _drawn(pair: _Pair, seeds: Sequence[int]) -> tuple[Runs, str]:
    """Runs on the first two sizes that the original takes, each with every seed; and why it took no other."""
    runs: Runs = []
    failure, taken = "it has an input too large to try", 0
    for dims in samples.sizes(pair.inputs):
        try:
            runs += [pair.run(dims, seed, Choice()) for seed in seeds]
        except BadInput as error:
            failure = error.what
            continue
        taken += 1
        if taken == _WANTED_SIZES:
            break
    return runs, failure


def _chosen(pair: _Pair, seed: int, choices: Sequence[Choice], known: list[dict[str, int]]) -> Runs:
    """A run for each choice on the first size that the original takes then, those of other runs first."""
    runs: Runs = []
    failures = 0
    for choice in choices:
        for dims in (*known, *samples.sizes(pair.inputs)):
            try:
                runs.append(pair.run(dims, seed, choice))
            except BadInput:
                failures += 1
                if failures == _MOST_FAILURES:
                    return runs
                continue
            known = [dims, *known]
            break
    return runs


@dataclass(frozen=True)
class _Pair:
    """Both models, ready to run on the same inputs."""

    before: _Traced
    after: _Traced
    inputs: Sequence[oracle.Input]

    def run(self, dims: dict[str, int], seed: int, choice: Choice) -> Run:
        """What both give. Raises BadInput where the original takes no such inputs."""
        try:
            feeds = samples.feeds(self.inputs, seed, dims, choice)
            original = self.before.run(feeds)
        except EffcError as error:
            raise BadInput(error.what) from error
        except MemoryError as error:
            raise BadInput(f"its inputs take too much memory: {error}") from error
        return dims, original, self.after.run(feeds)


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


def _write(model: onnx.ModelProto | ir.Model, path: Path) -> onnx.ModelProto:
    """Write and give the model; weights that lie in files stay there."""
    if not isinstance(model, onnx.ModelProto):
        from effc.compiler import stored

        model = stored.sketch(model, path.with_suffix(".data"))
    path.write_bytes(model.SerializeToString())
    return model


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
