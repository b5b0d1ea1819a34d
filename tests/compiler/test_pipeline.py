"""Files through the whole front: steps counted, outputs proved, wrong simplifications found."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from effc.compiler import ir, pipeline, proof
from effc.compiler.passes import SIMPLIFY
from effc.core.errors import BadInput, EffcError

FIXTURES = Path(__file__).parents[1] / "fixtures"
ZOO = os.environ.get("EFFC_ZOO", "")
OVERRIDES = {"centerface": {"input.1": (1, 3, 224, 224)}}


@pytest.mark.parametrize(("name", "nodes"), [("mnist_minimobile", 33), ("fashion_minires", 23)])
def test_fixtures(name: str, nodes: int) -> None:
    prepared = pipeline.prepare(FIXTURES / f"{name}.onnx")
    assert len(prepared.model.graph) == nodes
    assert prepared.steps
    assert prepared.proof is not None
    assert prepared.proof.worst_sqnr_db > 120
    assert {dims["N"] for dims in prepared.proof.dims} == {1, 2}
    assert prepared.source.opset == 17


@pytest.mark.skipif(not ZOO, reason="EFFC_ZOO names no zoo folder")
@pytest.mark.parametrize("path", sorted(Path(ZOO or ".").glob("models/*.onnx")), ids=lambda path: path.stem)
def test_zoo(path: Path) -> None:
    prepared = pipeline.prepare(path, OVERRIDES.get(path.stem))
    assert prepared.proof is not None
    if path.stem in ("pplcnet_orientation", "ppocr_cls", "efficientnet_lite0"):
        assert "Shape" not in {node.op_type for node in prepared.model.graph}


def model(text: str) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]>\n{text}'))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("y = Exp(x)", "y = Abs(x)", "output 'y'.*SQNR"),
        ("y = Exp(x)", "a = Exp(x) y = Transpose(a)", r"\[\d, \d\]"),
    ],
)
def test_a_wrong_result_is_found(before: str, after: str, message: str) -> None:
    head = "g (float[N,3] x) => (float[A,B] y)"
    with pytest.raises(EffcError, match=message):
        proof.prove(model(f"{head} {{ {before} }}"), model(f"{head} {{ {after} }}"))


@pytest.mark.parametrize(
    ("graph", "dims"),
    [
        ("(float[batch,3] x) => (float[other,3] y) { y = Relu(x) }", ("batch", 3)),
        ("(float[batch,3] x) => (int64[2,found] y) { y = NonZero(x) }", (2, "found")),
        ("(float[batch,3] x) => (int64[2,unk__7] y) { y = NonZero(x) }", (2, "unk__7")),
        (
            """(float[batch,4] x, bool c) => (float[rows,4] y) { y = If(c) <
               then_branch = a () => (float[m,4] t) { t = Identity(x) },
               else_branch = b () => (float[n,4] e) <int64[2] to = {-1, 4}> { e = Reshape(x, to) }> }""",
            ("rows", 4),
        ),
    ],
)
@pytest.mark.parametrize("opset", [13, 21])
def test_names_of_open_dims_are_kept(graph: str, dims: tuple[int | str, ...], opset: int, tmp_path: Path) -> None:
    """Those of an input where an output has its dims, else those that the file gives the output."""
    text = f'<ir_version: 8, opset_import: ["" : {opset}]>\ng {graph}'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "model.onnx")
    made = pipeline.prepare(tmp_path / "model.onnx", proof=False, goal=pipeline.Goal()).model
    assert ir.shape(made.graph.outputs[0]) == dims


def test_a_wrong_integer_is_found() -> None:
    head = "g (int32[N,3] x) => (int32[N,3] y)"
    with pytest.raises(EffcError, match=r"output 'y'.*values"):
        proof.prove(model(f"{head} {{ y = Neg(x) }}"), model(f"{head} {{ y = Identity(x) }}"))


def test_saturated_outputs_are_compared_before_they_saturate() -> None:
    """Sigmoid(-30 + x) in two orders of summation: the outputs hold rounding alone."""
    text = "g (float[N,3] x) => (float[N,3] y) <float c = {-30.0}, float d = {0.3}> "
    one = model(text + "{ a = Add(x, c) b = Add(a, d) y = Sigmoid(b) }")
    other = model(text + "{ a = Add(c, d) b = Add(x, a) y = Sigmoid(b) }")
    assert proof.prove(one, other).worst_sqnr_db > 90


def test_a_model_that_cannot_run_is_bad_input(tmp_path: Path) -> None:
    """Shapes that only the run finds wrong."""
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]>\ng (float[N,5] x) => (float[A,7] y) { y = Reshape(x, s) }'
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.array([3, 7], np.int64), "s"))
    path = tmp_path / "odd.onnx"
    onnx.save(proto, str(path))
    with pytest.raises(BadInput, match=r"odd\.onnx"):
        pipeline.prepare(path)


@pytest.mark.parametrize("proved", [True, False])
def test_absurd_sizes_end_in_an_error(proved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor of 1 GiB in a child that may hold half of it."""
    monkeypatch.setattr(proof, "memory", lambda size: 1 << 29)
    body = "a = Expand(x, s) b = Exp(a) y = ReduceMax<keepdims = 1>(b)"
    head = '<ir_version: 10, opset_import: ["" : 21]>\ng (float[1,1] x) => (float[1,1] y)'
    path = tmp_path / "absurd.onnx"
    onnx.save(onnx.parser.parse_model(f"{head} <int64[2] s = {{16384, 16384}}> {{ {body} }}"), str(path))
    if not proved:
        assert pipeline.prepare(path, proof=False).proof is None
        return
    with pytest.raises(BadInput, match=r"absurd\.onnx: .*Expand.* needs 1\.1 GB") as caught:
        pipeline.prepare(path)
    assert "--no-proof" in caught.value.hint


def test_a_crash_of_the_runtime_ends_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here one whose stack and libraries find no room at all."""
    monkeypatch.setattr(proof, "memory", lambda size: 1 << 20)
    with pytest.raises(BadInput, match="ONNX Runtime cannot") as caught:
        pipeline.prepare(FIXTURES / "mnist_minimobile.onnx")
    assert caught.value.where == str(FIXTURES / "mnist_minimobile.onnx")


@pytest.mark.parametrize("size", [0, 3 << 30])
def test_the_proof_may_hold_both_models(size: int) -> None:
    assert proof.memory(size) >= (2 << 30) + 2 * size


def test_phases_and_steps_have_names_of_their_own() -> None:
    for phase in SIMPLIFY:
        names = [step.name for step in phase.steps]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "graph",
    [
        """(float[T,1,2] x, int32[1] lengths) => (float[T,1,1,3] y) <float[1,12,2] w = {0.1}, float[1,12,3] r = {0.1}>
        { y = LSTM<hidden_size=3>(x, w, r, , lengths) }""",
        "(float[T,2] x, int64[2] n) => (float[T,2] y) { y = ReverseSequence<time_axis=0, batch_axis=1>(x, n) }",
        "(float[4,K] x, int64[N] i) => (float[4,N] y) { y = Gather<axis=1>(x, i) }",
    ],
)
def test_lengths_and_indices_are_small_enough(graph: str, tmp_path: Path) -> None:
    """Models that refuse most integers are run with few and small ones."""
    text = f'<ir_version: 8, opset_import: ["" : 17]>\ng {graph}'.replace("{0.1}", "{%s}")
    sizes = [24, 36][: text.count("%s")]
    text %= tuple(", ".join(["0.1"] * size) for size in sizes)
    onnx.save(onnx.parser.parse_model(text), tmp_path / "model.onnx")
    made = pipeline.prepare(tmp_path / "model.onnx", goal=pipeline.Goal())
    assert made.proof is not None
    assert not made.faults


def test_a_sequence_is_no_sample(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (seq(float[N]) s) => (float[M] y) { y = ConcatFromSequence<axis=0>(s) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "model.onnx")
    with pytest.raises(BadInput, match=r"input 's'.*no samples of sequences"):
        pipeline.prepare(tmp_path / "model.onnx", goal=pipeline.Goal())
    assert pipeline.prepare(tmp_path / "model.onnx", goal=pipeline.Goal(), proof=False).proof is None
