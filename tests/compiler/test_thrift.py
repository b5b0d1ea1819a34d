"""What is given up for small files: they keep to their limit, compute the same, and it is told if they do not."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from effc.compiler import oracle
from effc.compiler.pipeline import Goal
from effc.verbs.simplify import SimplifyOptions, simplify

MASK = """<ir_version: 8, opset_import: ["" : 17]>
g (float[B,2,S,8] q, float[B,2,S,8] k, float[B,2,P,8] pk, int64[B,T] mask) => (float[B,2,S,T] o, float[B,2,T,8] nk)
<float sc = {0.35355338}, int64 i2 = {2}, int64 i0 = {0}, int64 i1 = {1}, float neg = {-3.4e+38}, int64[1] a1 = {1},
 int64[2] a12 = {1,2}, int64[1] z0 = {0}, int64[2] a01 = {0,1}> {
   nk = Concat<axis = 2>(pk, k)
   kt = Transpose<perm = [0,1,3,2]>(nk)
   s = MatMul(q, kt)
   ss = Mul(s, sc)
   nks = Shape(nk)
   t = Gather(nks, i2)
   qs = Shape(q)
   sl = Gather(qs, i2)
   p = Sub(t, sl)
   qi = Range(p, t, i1)
   ki = Range(i0, t, i1)
   qc = Unsqueeze(qi, a1)
   kr = Unsqueeze(ki, z0)
   c = LessOrEqual(kr, qc)
   m4 = Unsqueeze(mask, a12)
   mb = Cast<to = 9>(m4)
   c4 = Unsqueeze(c, a01)
   a = And(mb, c4)
   w = Where(a, ss, neg)
   o = Softmax<axis = -1>(w)
}"""
BRANCHES = """<ir_version: 8, opset_import: ["" : 16]>
g (bool c, float[M] x) => (float[M] y, float[M] z) {
   y = If(c)<then_branch = a () => (float[M] o) { t = Neg(x) o = Relu(t) },
             else_branch = b () => (float[M] o) { t = Abs(x) o = Sqrt(t) }>
   z = If(c)<then_branch = a () => (float[M] o) { t = Sin(x) o = Relu(t) },
             else_branch = b () => (float[M] o) { t = Abs(x) o = Exp(t) }>
}"""
CHAIN = """<ir_version: 8, opset_import: ["" : 18]> g (float[2,3] x) => (float[2,3] y) {
   a = Sin(x) b = Cos(a) c = Tan(b) d = Atan(c) y = Add(d, x)
}"""
NUMBERS = """<ir_version: 8, opset_import: ["" : 18]>
g (float[5,4] x) => (int64[2] y, int64[2] w) <int64[2] c = {9007199254740993,-7}, int64[2] d = {1,2}> {
   y = Div(c, d) s = Shape(x) w = Mod(c, s)
}"""
DIMS = {"B": 2, "S": 3, "P": 2, "T": 5, "M": 4}


def written(text: str, folder: Path, growth: float | None = 0.01) -> tuple[Path, Path, int]:
    """The model as it was and as it was simplified, and how much too large the latter is."""
    given, out = folder / "in.onnx", folder / "out.onnx"
    onnx.save(onnx.parser.parse_model(text), given)
    report = simplify(SimplifyOptions(given, out, {}, Goal(growth=growth)))
    assert report.bytes_after == os.path.getsize(out)
    return given, out, report.beyond


@pytest.mark.parametrize("text", [MASK, BRANCHES, CHAIN, NUMBERS], ids=["mask", "branches", "chain", "numbers"])
def test_small_files_keep_to_their_limit(text: str, tmp_path: Path) -> None:
    given, out, beyond = written(text, tmp_path)
    assert beyond == 0 and os.path.getsize(out) <= 1.01 * os.path.getsize(given)
    onnx.checker.check_model(str(out), full_check=True)
    feeds = oracle.seeded_feeds(given, 0, DIMS)
    expected, found = (oracle.Session(path).run(feeds) for path in (given, out))
    assert list(expected) == list(found)
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


def test_tensors_of_the_file_keep_their_names(tmp_path: Path) -> None:
    given, out, _ = written(MASK, tmp_path)
    before, after = ({n for node in onnx.load(p).graph.node for n in node.output} for p in (given, out))
    assert {name for name in after - before if len(name) > 2} == set()
    assert {"nk", "kt", "ss", "qi", "ki", "m4", "w"} <= after


def test_what_cannot_be_kept_is_told(tmp_path: Path) -> None:
    given, out, beyond = written(CHAIN, tmp_path, growth=-0.9)
    assert beyond == math.ceil(os.path.getsize(out) - (1 - 0.9) * os.path.getsize(given)) > 0


def test_nothing_is_given_up_where_there_is_room(tmp_path: Path) -> None:
    _, out, beyond = written(CHAIN, tmp_path, growth=None)
    graph = onnx.load(out).graph
    assert beyond == 0 and all(node.name for node in graph.node) and len(graph.value_info) == 4
