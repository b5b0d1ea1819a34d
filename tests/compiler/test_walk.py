"""Nodes of branches, loop bodies and functions are seen, in protos and in the graphs that passes work on alike."""

from __future__ import annotations

import onnx
import onnx.parser
import pytest

from effc.compiler import ir, protos, walk

HEAD = '<ir_version: 10, opset_import: ["" : 21, "own" : 1]>\n'
BRANCHES = """y = If (c) <
    then_branch = one () => (float[1] a) { a = Exp(x) },
    else_branch = two () => (float[1] b) {
        b = If (c) <
            then_branch = three () => (float[1] d) { d = Abs(x) },
            else_branch = four () => (float[1] e) { e = Neg(x) }
        >
    }
>"""
GRAPHS = {
    "branches": ("bool c, float[1] x", "float[1] y", BRANCHES, ["If", "Exp", "If", "Abs", "Neg"]),
    "sequence": (
        "seq(float[1]) x",
        "seq(float[1]) y",
        "y = SequenceMap (x) <body = one (float[1] a) => (float[1] b) { b = Exp(a) }>",
        ["SequenceMap", "Exp"],
    ),
    "foreign": (
        "float[1] x",
        "float[1] y",
        "y = own.Twice (x) <body = one (float[1] a) => (float[1] b) { b = Exp(a) }>",
        ["Twice", "Exp"],
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_inner_nodes_follow_the_node_that_holds_them(name: str) -> None:
    given, wanted, body, ops = GRAPHS[name]
    proto = onnx.parser.parse_model(f"{HEAD}g ({given}) => ({wanted}) {{ {body} }}")
    graph = ir.from_proto(proto).graph
    assert [node.op_type for node in protos.everywhere(proto.graph.node)] == ops
    assert [node.op_type for node in walk.everywhere(graph)] == ops
    assert [node.op_type for node in walk.with_inner(graph[0])] == ops
    held = [op for inner in walk.inner_graphs(graph) for op in (node.op_type for node in inner)]
    assert sorted(held) == sorted(ops[1:])


def test_functions_count_and_constants_do_not() -> None:
    body = "f (x) => (y) { k = Constant <value_float = 1.0> () y = Add(x, k) }"
    function = f'<opset_import: ["" : 21], domain: "own"> {body}'
    proto = onnx.parser.parse_model(f"{HEAD}g (float[1] x) => (float[1] y) {{ a = own.f(x) y = Exp(a) }}\n{function}")
    assert walk.op_counts(protos.of_model(proto)) == {"Add": 1, "Exp": 1, "f": 1}


def test_what_nothing_needs_goes_from_a_sequences_body() -> None:
    body = "y = SequenceMap (x) <body = one (float[1] a) => (float[1] b) { c = Abs(a) b = Exp(a) }>"
    model = ir.from_proto(onnx.parser.parse_model(f"{HEAD}g (seq(float[1]) x) => (seq(float[1]) y) {{ {body} }}"))
    assert ir.prune(model)
    assert [node.op_type for node in walk.everywhere(model.graph)] == ["SequenceMap", "Exp"]
