"""Front to end: a file becomes a simplified model, proved equal to what the file holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx

from effc.compiler import bisect, downgrade, frontend, inputs, ir, phase, upgrade
from effc.compiler.apart import Apart
from effc.compiler.compact import compact, terse
from effc.compiler.inputs import Dims
from effc.compiler.passes import SIMPLIFY, fold, simplification
from effc.compiler.proof import Proof, prove
from effc.compiler.settle import complete, has_gaps, is_open, keep_names, settle, skeleton
from effc.compiler.upgrade import OLDEST_SUPPORTED
from effc.core.errors import BadInput, EffcError
from effc.core.manifest import Source
from effc.core.progress import Progress


@dataclass(frozen=True)
class Goal:
    """What a model is simplified for when it is to be written as ONNX.

    Attributes:
        opset: the one to write; None for that of the input.
        growth: how much larger than the input the output may be, as a fraction of it; None for any size.
        outputs: those that are wanted, with what they need; none named for all.
        drop_inputs: whether inputs that nothing reads are dropped.
    """

    opset: int | None = None
    growth: float | None = 0.01
    outputs: tuple[str, ...] = ()
    drop_inputs: bool = False


@dataclass(frozen=True)
class Prepared:
    """A simplified model.

    Attributes:
        original: the file's model with the wanted input dims and nothing else changed.
        bytes: of the file and its external data.
        steps: every simplification that changed it, in order.
        proof: the comparison with the original, None where it was not asked for.
        faults: steps that were switched off because they spoiled this model.
    """

    model: ir.Model
    source: Source
    original: onnx.ModelProto
    bytes: int
    steps: tuple[phase.StepRecord, ...]
    proof: Proof | None
    faults: tuple[bisect.Fault, ...] = ()


def prepare(
    path: Path,
    shapes: Mapping[str, Dims] | None = None,
    *,
    proof: bool = True,
    progress: Progress | None = None,
    goal: Goal | None = None,
) -> Prepared:
    """Load, simplify, prove; without a `goal` as every build starts, at the internal opset.

    Raises BadInput for what is wrong with the file, EffcError when no subset of the steps keeps the outputs.
    """
    newest = onnx.defs.onnx_opset_version()
    if goal is not None and not OLDEST_SUPPORTED <= (goal.opset or newest) <= newest:
        raise BadInput(f"{goal.opset} cannot be written", where="--opset", hint=f"{OLDEST_SUPPORTED} to {newest} can")
    with Apart() as child:
        work = _Work(path, shapes or {}, goal, progress or Progress(), child, proof)
        try:
            proved = work.proved()
        except EffcError as error:
            error.place(str(path))
            raise
    return Prepared(proved.model, work.source, work.original, work.bytes, proved.steps, proved.proof, proved.faults)


@dataclass
class _Work:
    """One file on its way; `fresh` is the model as it was loaded, until a step has touched it."""

    path: Path
    shapes: Mapping[str, Dims]
    goal: Goal | None
    progress: Progress
    child: Apart
    proof: bool
    fresh: ir.Model | None = field(init=False)
    source: Source = field(init=False)
    original: onnx.ModelProto = field(init=False)
    bytes: int = field(init=False)
    budget: int | None = field(init=False)
    stated: Mapping[str | None, ir.Shape | None] = field(init=False)
    names: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        with self.progress.stage("simplify"):
            loaded = self._load()
        if self.goal is not None:
            self.child.preload(downgrade.__name__, *((upgrade.NAMING,) if is_open(loaded.model.graph) else ()))
        self.fresh, self.source, self.original = loaded.model, loaded.source, loaded.original
        self.names = loaded.names
        self.stated = {v.name: v.shape for v in loaded.model.graph.outputs}
        growth = None if self.goal is None else self.goal.growth
        self.bytes = loaded.bytes
        self.budget = None if growth is None else fold.stored_bytes(loaded.model) + int(growth * self.bytes)

    def proved(self) -> bisect.Proved:
        """Made, proved, at the wanted opset; where the input has one that cannot be kept, at a newer one."""
        try:
            return bisect.prove_steps(self.make, self.finish)
        except downgrade.NoOlderForm as error:
            assert self.goal is not None
            if self.goal.opset is not None:
                hint = f"leave --opset out, or ask for {self._working(self.source.opset)}"
                raise BadInput(error.what, where="--opset", hint=hint) from error
            fault = bisect.Fault(f"opset {self.source.opset}", error.what)
            self.goal = replace(self.goal, opset=self._working(self.source.opset))
        proved = bisect.prove_steps(self.make, self.finish)
        return replace(proved, faults=(fault, *proved.faults))

    def make(self, without: Set[str], most: int | None) -> tuple[ir.Model, tuple[phase.StepRecord, ...]]:
        with self.progress.stage("simplify"):
            model, self.fresh = self.fresh or self._load().model, None
            self._keep_outputs(model.graph)
            steps: tuple[phase.StepRecord, ...] = ()
            for budget in self._budgets(model):
                left = None if most is None else most - len(steps)
                steps += phase.apply(model, self._phases(budget), without=without, most=left)
            return model, steps

    def _keep_outputs(self, graph: ir.Graph) -> None:
        wanted = () if self.goal is None else self.goal.outputs
        names = [v.name for v in graph.outputs]
        if unknown := [name for name in wanted if name not in names]:
            hint = f"its outputs: {', '.join(map(str, names))}"
            raise BadInput(f"the model has no output {unknown[0]!r}", where="--outputs", hint=hint)
        if wanted:
            graph.outputs[:] = [v for v in graph.outputs if v.name in wanted]

    def _budgets(self, model: ir.Model) -> Iterator[int | None]:
        """A budget for each time that the phases are to run: once, and again where shapes or room turn up."""
        yield self.budget
        if has_gaps(model.graph) and complete(model, self.child):
            yield self.budget
        wider = self._budget_now(model)
        if wider is not None and fold.has_more(model, wider):
            yield wider

    def finish(self, model: ir.Model) -> tuple[ir.Model, Proof | None]:
        with self.progress.stage("simplify"):
            settle(model, where="simplification")
            keep_names(model.graph, self.stated)
            if self.goal is not None:
                if self.goal.drop_inputs:
                    model.graph.inputs[:] = [v for v in model.graph.inputs if v.uses() or v.is_graph_output()]
                compact(model, None if self.budget is None else self.budget - fold.stored_bytes(model))
                model = downgrade.lowered(model, self.goal.opset or self.source.opset, self.child)
                terse(model)
                self._as_given(model)
        with self.progress.stage("prove"):
            return model, prove(self.original, model) if self.proof else None

    def _as_given(self, model: ir.Model) -> None:
        """What the file says of itself, at its IR version where the opset allows it."""
        frontend.describe(model, self.original)
        inputs.restore(model.graph, self.names)
        imports = [onnx.helper.make_opsetid(*entry) for entry in model.opset_imports.items()]
        needed = onnx.helper.find_min_ir_version_for(imports, ignore_unknown=True)
        model.ir_version = max(self.original.ir_version, needed)

    def _load(self) -> frontend.Loaded:
        return frontend.load(self.path, self.shapes, self._working, self.child, named=self.goal is None)

    def _working(self, given: int) -> int:
        """The opset to work at."""
        if self.goal is None:
            return ir.INTERNAL_OPSET
        return max(ir.INTERNAL_OPSET, given, self.goal.opset or 0)

    def _budget_now(self, model: ir.Model) -> int | None:
        """Bytes that the weights may take now that there are fewer nodes; None where there is no limit."""
        if self.goal is None or self.goal.growth is None:
            return None
        bare = skeleton(model)
        weights = sum(len(tensor.raw_data) for tensor in bare.graph.initializer)
        nodes = bare.ByteSize() - weights - sum(info.ByteSize() for info in bare.graph.value_info)
        return int((1 + self.goal.growth) * self.bytes) - int(nodes)

    def _phases(self, budget: int | None) -> tuple[phase.Phase, ...]:
        if self.goal is None:
            return SIMPLIFY
        opset = self.goal.opset or self.source.opset
        return simplification(opset, evaluate=self.child.evaluate, budget=budget)
