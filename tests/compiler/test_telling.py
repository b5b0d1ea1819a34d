"""The numbers at which a graph goes another way are found, and the proof takes them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest

from effc.compiler import ir, oracle, samples
from effc.compiler.proof import prove
from effc.compiler.samples import Choice
from effc.compiler.telling import Telling, merged, telling
from effc.core.errors import EffcError

HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'
TABLE = "float[3,2] t = {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}"


def proto(given: str, body: str, constants: str = "") -> onnx.ModelProto:
    held = f"<{constants}>" if constants else ""
    return onnx.parser.parse_model(f"{HEAD}g ({given}) => (float[A,B] y) {held} {{ {body} }}")


WAYS = """y = If (c) <
    then_branch = one () => (float[A,B] a) { a = OP(x) },
    else_branch = two () => (float[A,B] b) { b = Abs(x) }
>"""
TOLD = {
    "equal": ("int64 n", "c = Equal(n, k)", "int64 k = {16000}", (16000, 16001), None),
    "the other way": ("int64 n", "c = Less(k, n)", "int64 k = {9}", (9, 10), None),
    "less": ("int64 n", "c = Less(n, k)", "int64 k = {0}", (-1, 0), None),
    "a chain": (
        "int32[1] n",
        "a = Cast<to = 1>(n) b = Identity(a) d = Squeeze(b) k = Constant<value_float = 2.5>() c = Greater(d, k)",
        "",
        (2, 3),
        None,
    ),
    "shifted": ("int64 n", "a = Add(n, k) b = Sub(a, m) c = Equal(b, k)", "int64 k = {5}, int64 m = {2}", (2, 3), None),
    "a truth": ("int64 n", "c = Cast<to = 9>(n)", "", (0, 1), None),
    "a condition": ("bool n", "c = Identity(n)", "", (0, 1), None),
    "within a branch": (
        "int64 n, bool d",
        "c = If (d) <then_branch = p () => (bool e) { e = Equal(n, k) }, else_branch = q () => (bool f) "
        "{ f = Identity(d) }>",
        "int64 k = {70}",
        (70, 71),
        None,
    ),
    "rows": ("int64[N] n", "r = Gather(t, n)", TABLE, (2, -1), 3),
    "rows behind two others": (
        "int64[N] n",
        "m = Sub(n, k) r = Gather(t, m)",
        f"{TABLE}, int64 k = {{-2}}",
        (0, -3),
        1,
    ),
    "nothing": ("int64 n", "f = Cast<to = 1>(n) r = Mul(f, x)", "", (), None),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_is_told(name: str) -> None:
    given, body, constants, numbers, below = TOLD[name]
    ways = WAYS.replace("OP", "Exp") if " c = " in f" {body}" else "y = Exp(x)"
    found = telling(proto(f"float[A,B] x, {given}", f"{body} {ways}", constants).graph)
    assert found.get("n", Telling()) == Telling(numbers, below)


def test_two_graphs_are_told_together() -> None:
    one, other = {"a": Telling((1, 2), 5)}, {"a": Telling((2, 3), 4), "b": Telling((0,))}
    assert merged(one, other) == {"a": Telling((1, 2, 3), 4), "b": Telling((0,))}


INT = np.dtype(np.int64)
SCALAR, ROW = oracle.Input("a", INT, ()), oracle.Input("b", INT, ("N", 6))


def test_choices_are_combined_while_they_are_few() -> None:
    told = {"a": Telling((1, 2)), "b": Telling((3, 4))}
    found = samples.choices((SCALAR, ROW), told)
    assert [tuple(c.numbers.values()) for c in found if c.stride == 1] == [(1, 3), (1, 4), (2, 3), (2, 4)]
    assert {c.stride for c in found} == {1, 2}
    many = {"a": Telling(tuple(range(50))), "b": Telling((3, 4))}
    assert len(samples.choices((SCALAR, ROW), many)) == 8
    assert not samples.choices((SCALAR,), {"b": Telling((3,))})


def test_a_choice_that_the_type_does_not_have_is_none() -> None:
    byte = oracle.Input("a", np.dtype(np.uint8), ())
    assert samples.choices((byte,), {"a": Telling((-1, 0, 300))}) == (Choice({"a": 0}),)


def test_a_choice_is_fed() -> None:
    whole, half = (samples.feeds((SCALAR, ROW), 0, {}, Choice({"a": 70, "b": 90}, stride)) for stride in (1, 2))
    assert whole["a"] == 70
    assert (whole["b"] == 90).all()
    assert ((half["b"] == 90) == [[True, False] * 3] * 2).all()


@pytest.mark.parametrize("sound", [True, False])
@pytest.mark.parametrize("name", [name for name in TOLD if "c = " in TOLD[name][1]])
def test_a_wrong_branch_is_found(name: str, sound: bool) -> None:
    given, body, constants, *_ = TOLD[name]
    pair = [proto(f"float[A,B] x, {given}", f"{body} {WAYS.replace('OP', op)}", constants) for op in ("Exp", "Neg")]
    if sound:
        assert prove(pair[0], ir.from_proto(pair[0]), seeds=(0,)).worst_sqnr_db == np.inf
        return
    with pytest.raises(EffcError, match="simplification changed it"):
        prove(pair[0], ir.from_proto(pair[1]), seeds=(0,))


def test_rows_beyond_those_that_are_drawn_are_proved() -> None:
    """One row of a large table differs, its last; a small one is never read beyond its end."""
    tables = [np.ones((rows, 4), np.float32) for rows in (1000, 1000, 2)]
    tables[1][-1] = 2.0
    models = [proto("int64[N] n", "y = Gather(t, n)") for _ in tables]
    for model, table in zip(models, tables, strict=True):
        model.graph.initializer.append(onnx.numpy_helper.from_array(table, "t"))
    with pytest.raises(EffcError, match="simplification changed it"):
        prove(models[0], ir.from_proto(models[1]))
    assert prove(models[2], ir.from_proto(models[2])).worst_sqnr_db == np.inf
