"""What an edited model knows of its shapes: where there are gaps, which can be closed, what is kept as stated."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import pytest

from effc.compiler import frontend, ir
from effc.compiler.apart import Apart
from effc.compiler.settle import complete, has_gaps, is_open, settle
from effc.core.errors import EffcError

HEAD = '<ir_version: 10, opset_import: ["" : 21, "own" : 1]>\n'


def model(text: str) -> ir.Model:
    made = ir.from_proto(onnx.parser.parse_model(HEAD + text))
    settle(made, where="test")
    return made


GAPS = {
    "static": ("g (float[2,3] x) => (float[2,3] y) { a = Exp(x) y = Neg(a) }", False, False),
    "symbols": ("g (float[N,3] x) => (float[N,3] y) { a = Exp(x) y = Neg(a) }", False, False),
    "a shape": ("g (float[N,3] x) => (int64[2] y) { a = Exp(x) y = Shape(a) }", True, False),
    "an inner dim": (
        "g (float[N] x) => (int64 z) { a = Concat<axis=0>(x, x) z = Size(a) }",
        False,
        True,
    ),
    "an output's": ("g (float[N] x) => (float[?] y) { a = Concat<axis=0>(x, x) y = Exp(a) }", True, True),
    "a rank": (
        "g (float[N] x, int64[R] s) => (int64 z) { a = Reshape(x, s) z = Size(a) }",
        True,
        True,
    ),
}


@pytest.mark.parametrize("name", GAPS)
def test_gaps(name: str) -> None:
    text, gaps, open_dims = GAPS[name]
    made = model(text)
    assert has_gaps(made.graph) == gaps
    assert is_open(made.graph) == open_dims


TWICE = "g (float[N,3] x) => (float z) { a = Concat<axis=0>(x, x) b = Exp(a) z = ReduceSum<keepdims=0>(b) }"


def test_names_are_found_once() -> None:
    made = model(TWICE)
    with Apart() as child:
        assert complete(made, child)
        assert {str(ir.shape(node.outputs[0])[0]) for node in list(made.graph)[:2]} == {"2*N"}  # type: ignore[index]
        assert not complete(made, child)


def test_a_child_that_ends_costs_the_names_alone() -> None:
    made, before = model(TWICE), model(TWICE)
    with Apart() as child:
        child._worker.deadline = 0.0
        assert not complete(made, child)
        assert ir.to_bytes(made) == ir.to_bytes(before)
        assert complete(made, child)


def test_a_cycle_is_refused() -> None:
    made = model(TWICE)
    first, second = list(made.graph)[:2]
    first.replace_input_with(0, second.outputs[0])
    with Apart() as child, pytest.raises(EffcError, match="symbolic shapes: left an invalid model"):
        complete(made, child)


def test_what_is_stated_of_a_foreign_ops_output_is_kept(tmp_path: Path) -> None:
    """Half of its dims; inference could find none of them, and goes on from there."""
    path = tmp_path / "foreign.onnx"
    text = "g (float[N,3] x) => (float[A,B] y) <float[M,3] a> { a = own.Cut(x) b = Exp(a) y = Transpose(b) }"
    path.write_bytes(onnx.parser.parse_model(HEAD + text).SerializeToString())
    made = frontend.load(path).model
    settle(made, where="test")
    dims = [ir.shape(node.outputs[0]) for node in made.graph]
    assert [None if found is None else [d for d in found if isinstance(d, int)] for found in dims] == [[3]] * 3
    assert [len(found or ()) for found in dims] == [2, 2, 2]
    assert (dims[-1] or ())[0] == 3
