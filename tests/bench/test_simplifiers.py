"""The comparison of simplifiers: what counts as a result, how nodes are counted, and what the page says."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import parser

from effc.bench import chains
from effc.bench.nodetests import Kind, judged
from effc.bench.peers import simplifiers
from effc.bench.peers.comparison import Comparison, Length, Result, Row, means
from effc.bench.peers.simplifiers import Simplifier, Verdict
from effc.core.errors import BackendMissing
from effc.verbs import simplifiers_page

HEAD = '<ir_version: 8, opset_import: ["" : 17, "own" : 1]>'
ORIGINAL = (
    f"{HEAD} g (float[N,2] x) => (float[N,2] y) {{ a = Identity(x) c = Constant<value_float=2.0>() y = Mul(a, c) }}"
)
BRANCHES = f"""{HEAD} g (bool b, float[2] x) => (float[2] y) {{
    y = If(b) <then_branch = t () => (float[2] u) {{ u = Relu(x) }}, else_branch = e () => (float[2] v) {{
        w = Neg(x) v = Abs(w)
    }}>
}}"""


def written(folder: Path, name: str, text: str) -> Path:
    onnx.save(parser.parse_model(text), folder / name)
    return folder / name


@pytest.mark.parametrize("text,nodes", [(ORIGINAL, 2), (BRANCHES, 4)], ids=["Constant", "branches"])
def test_nodes_are_counted(text: str, nodes: int) -> None:
    assert simplifiers.node_count(parser.parse_model(text)) == nodes


@pytest.mark.parametrize(
    "body,fault",
    [
        ("c = Constant<value_float=2.0>() y = Mul(x, c)", ""),
        ("y = Add(x, x)", ""),
        ("y = Relu(x)", "simplification changed it"),
        ("y = own.Double(x)", "ops of own"),
        ("a = Transpose(x) y = Transpose<perm=[0,1]>(a)", "simplification made"),
    ],
)
def test_what_counts(tmp_path: Path, body: str, fault: str) -> None:
    original = written(tmp_path, "in.onnx", ORIGINAL)
    output = written(tmp_path, "out.onnx", f"{HEAD} g (float[N,2] x) => (float[N,2] y) {{ {body} }}")
    verdict = simplifiers.judge(original, output)
    assert verdict.counts(2.0) == (not fault)
    assert fault in "; ".join(verdict.faults)


def test_growth_counts() -> None:
    verdict = Verdict(3, 1020, 1.02, ())
    assert not verdict.counts()
    assert verdict.counts(float("inf"))


def test_an_original_that_cannot_be_run_is_no_fault(tmp_path: Path) -> None:
    text = f"{HEAD} g (float[N,2] x) => (float[N,2] y) {{ y = own.Double(x) }}"
    verdict = simplifiers.judge(written(tmp_path, "in.onnx", text), written(tmp_path, "out.onnx", text))
    assert verdict.counts()
    assert verdict.unproved


@pytest.mark.parametrize(
    "code,failure",
    [("raise SystemExit(3)", "status 3"), ("raise ValueError('odd')", "ValueError: odd"), ("pass", "status 0")],
)
def test_a_failure_is_told(tmp_path: Path, code: str, failure: str) -> None:
    tried = simplifiers.attempt(Simplifier("it", (sys.executable, "-c", code)), tmp_path / "a", tmp_path / "b")
    assert tried.failure == failure


def test_effc_is_one_of_them(tmp_path: Path) -> None:
    original = written(tmp_path, "in.onnx", ORIGINAL)
    tried = simplifiers.attempt(simplifiers.effc(), original, tmp_path / "out.onnx")
    assert not tried.failure
    assert simplifiers.judge(original, tmp_path / "out.onnx").nodes == 1


def test_missing_peers_are_told(tmp_path: Path) -> None:
    with pytest.raises(BackendMissing, match="onnxslim"):
        simplifiers.peers(tmp_path)


def row(own: int, *others: Verdict | None) -> Row:
    told = [Result(f"peer{i}", 2.0, verdict, "" if verdict else "crashed") for i, verdict in enumerate(others)]
    return Row("net", 9, 1000, 1.01, Result("effc", 1.0, Verdict(own, 900, 0.9, ())), tuple(told))


FEWER, LARGER, WRONG = Verdict(4, 900, 0.9, ()), Verdict(3, 2000, 2.0, ()), Verdict(2, 900, 0.9, ("output differs",))


@pytest.mark.parametrize(
    "own,others,best,lost",
    [
        (5, (FEWER,), 4, True),
        (4, (FEWER,), 4, False),
        (5, (LARGER, WRONG, None), None, False),
        (5, (FEWER, WRONG), 4, True),
    ],
)
def test_the_best_peer(own: int, others: tuple[Verdict | None, ...], best: int | None, lost: bool) -> None:
    assert (row(own, *others).best, row(own, *others).lost) == (best, lost)


def test_a_result_of_ours_that_does_not_count_is_lost() -> None:
    good = row(4, FEWER)
    assert replace(good, own=Result("effc", 1.0, WRONG)).lost


def test_the_page() -> None:
    rows = (row(5, FEWER, LARGER), row(4, WRONG, None))
    lengths = (Length("chain", 1000, 10, {"effc": 1.5}),)
    text = simplifiers_page.page(Comparison(rows, 3, lengths, {"equal": 7}, "large"))
    assert "| net | 9 | 4 (2.0) | 3> (2.0) | 5 (1.0) | 4 | lost |" in text
    assert "| net | 9 | 2! (2.0) | - | 4 (1.0) | - |  |" in text
    assert "- net, peer1: crashed" in text
    assert "| chain | 1000 | 10 | 1.5 |" in text
    assert "1 of 2 rows" in text


def test_means_are_over_models_that_all_wrote() -> None:
    assert means([row(5, FEWER), row(5, None)]) == {"peer0": 2.0, "effc": 1.0}


@pytest.mark.parametrize("shape", chains.SHAPES)
def test_generated_graphs_are_sound(shape: str) -> None:
    model = chains.SHAPES[shape](100)
    onnx.checker.check_model(model, full_check=True)
    assert 90 <= len(model.graph.node) <= 100


def test_a_node_test_is_judged() -> None:
    assert [each.kind for each in judged(["relu"])] == [Kind.EQUAL]
