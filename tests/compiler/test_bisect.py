"""Steps that spoil a model are found among the others and switched off; the rest stays."""

from __future__ import annotations

from collections.abc import Callable, Set
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from effc.cli.main import main
from effc.compiler import bisect, ir, phase, pipeline
from effc.compiler.apart import Apart
from effc.compiler.passes import SIMPLIFY
from effc.compiler.phase import Phase, Step, StepRecord
from effc.compiler.proof import Proof, prove
from effc.compiler.settle import settle
from effc.core.errors import BackendFailed, BadInput, EffcError

TEXT = """g (float[N,3] x) => (float[N,3] y, int32[N,3] z) <float[3] one = {1.0, 1.0, 1.0}, float c = {2.0}> {
    a = Identity(x) b = Mul(a, one) d = Dropout(b) e = Exp(d) f = Mul(e, c) y = Sin(f)
    i = Cast<to = 6>(x) j = Identity(i) z = Abs(j)
}"""


def source() -> ir.Model:
    model = ir.from_proto(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]>\n{TEXT}'))
    settle(model, where="test")
    return model


def double(model: ir.Model) -> bool:
    """A factor of 2 becomes one of 2.01."""
    found = [v for v in model.graph.initializers.values() if (a := ir.const(v)) is not None and a.size == 1 and a == 2]
    for value in found:
        ir.replace_uses(value, ir.initializer(model.graph, "wrong", np.array(2.01, np.float32)))
    return bool(found)


def negate(model: ir.Model) -> bool:
    """Abs becomes Neg, which only the integer output shows."""
    found = [node for node in model.graph if node.op_type == "Abs"]
    for node in found:
        ir.substitute(node, ir.node("Neg", list(node.inputs)))
    return bool(found)


def invalid(model: ir.Model) -> bool:
    """An op that is none."""
    found = [node for node in model.graph if node.op_type == "Exp"]
    for node in found:
        ir.substitute(node, ir.node("Expo", list(node.inputs)))
    return bool(found)


def broken(model: ir.Model) -> bool:
    raise KeyError("what was looked for")


BAD: dict[str, Callable[[ir.Model], bool]] = {f.__name__: f for f in (double, negate, invalid, broken)}


def proved(steps: tuple[Step, ...]) -> bisect.Proved:
    phases = (SIMPLIFY[0], Phase("bad", steps, by_round=True), *SIMPLIFY[1:])

    def make(without: Set[str], most: int | None) -> tuple[ir.Model, tuple[StepRecord, ...]]:
        model = source()
        return model, phase.apply(model, phases, without=without, most=most)

    def finish(model: ir.Model) -> tuple[ir.Model, Proof]:
        settle(model, where="test")
        return model, prove(source(), model, seeds=(0,))

    return bisect.prove_steps(make, finish)


@pytest.mark.parametrize("names", [(), *((name,) for name in BAD), ("double", "negate"), tuple(BAD)])
def test_bad_steps_are_switched_off_and_the_rest_is_kept(names: tuple[str, ...]) -> None:
    found = proved(tuple(Step(name, BAD[name]) for name in names))
    assert {fault.step for fault in found.faults} == set(names)
    assert all(fault.reason for fault in found.faults)
    assert [node.op_type for node in found.model.graph] == ["Exp", "Mul", "Sin", "Cast", "Abs"]
    assert found.proof is not None
    assert found.proof.worst_sqnr_db == np.inf
    assert {"no-ops", "dead code"} & {record.step for record in found.steps}
    assert not set(names) & {record.step for record in found.steps}


def test_what_no_step_has_done_is_raised() -> None:
    def make(without: Set[str], most: int | None) -> tuple[ir.Model, tuple[StepRecord, ...]]:
        model = source()
        return model, phase.apply(model, SIMPLIFY, without=without, most=most)

    def finish(model: ir.Model) -> tuple[ir.Model, Proof]:
        raise EffcError("never")

    with pytest.raises(EffcError, match="never"):
        bisect.prove_steps(make, finish)


def test_a_model_that_too_many_steps_break_on_is_told_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says where and what in one line, and has no traceback."""
    steps = tuple(Step(f"broken {index}", broken) for index in range(bisect.MOST_FAULTS + 1))
    monkeypatch.setattr(pipeline, "simplification", lambda *args, **kwargs: (Phase("bad", steps),))
    path = tmp_path / "given.onnx"
    path.write_bytes(ir.to_bytes(source()))
    assert main(["simplify", str(path), str(tmp_path / "out.onnx"), "--no-proof"]) == 1
    told = capsys.readouterr().err
    assert f"{path} step 'broken {bisect.MOST_FAULTS}': KeyError: 'what was looked for'" in told
    assert "Traceback" not in told
    assert not (tmp_path / "out.onnx").exists()


def test_a_bad_source_is_not_searched_for_bad_steps() -> None:
    made: list[int | None] = []

    def make(without: Set[str], most: int | None) -> tuple[ir.Model, tuple[StepRecord, ...]]:
        made.append(most)
        return source(), ()

    def finish(model: ir.Model) -> tuple[ir.Model, Proof]:
        raise BadInput("it cannot be run")

    with pytest.raises(BadInput):
        bisect.prove_steps(make, finish)
    assert made == [None]


def test_a_crash_costs_one_call() -> None:
    with Apart() as child:
        with pytest.raises(BackendFailed, match="SIGABRT"):
            child.call("os:abort")
        assert child.call("math:sqrt", 9.0) == 3.0
