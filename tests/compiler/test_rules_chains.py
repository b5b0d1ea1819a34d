"""Rules for chains of data movement, constants and transposes: ops before and after, equal outputs in the oracle."""

# ruff: noqa: E501 (a graph is easiest to read in one line)

from __future__ import annotations

import pytest
from rule_cases import assert_rule

F = "float[N,2,3]"
RULES = [
    # chains
    ("concats of concats", f"g ({F} a, {F} b, {F} c) => (float[N,6,3] y) {{ i = Concat<axis=1>(a, b) y = Concat<axis=-2>(c, i) }}", {}, ["Concat"]),
    ("concats along two axes", f"g ({F} a, {F} b, float[N,4,3] c) => (float[N,4,6] y) {{ i = Concat<axis=1>(a, b) y = Concat<axis=2>(i, c) }}", {}, ["Concat", "Concat"]),
    ("a concat read twice", f"g ({F} a, {F} b) => (float[N,6,3] y, float[N,4,3] z) {{ i = Concat<axis=1>(a, b) y = Concat<axis=1>(i, a) z = Relu(i) }}", {}, ["Concat", "Concat", "Relu"]),
    ("split and concat", "g (float[N,6] x) => (float[N,6] y) { a, b = Split<axis=1,num_outputs=2>(x) c = Concat<axis=1>(a, b) y = Relu(c) }", {}, ["Relu"]),
    ("split and concat in another order", "g (float[N,6] x) => (float[N,6] y) { a, b = Split<axis=1,num_outputs=2>(x) y = Concat<axis=1>(b, a) }", {}, ["Split", "Concat"]),
    ("slices along two axes", "g (float[N,6,8] x) => (float[N,4,3] y) <int64[1] s = {1}, int64[1] e = {5}, int64[1] a = {1}, int64[1] t = {-7}, int64[1] f = {-1}, int64[1] b = {-1}, int64[1] p = {2}> { c = Slice(x, s, e, a) y = Slice(c, t, f, b, p) }", {}, ["Slice"]),
    ("slices along one axis", "g (float[N,9] x) => (float[N,2] y) <int64[1] s = {1}, int64[1] e = {-1}, int64[1] a = {1}, int64[1] p = {2}, int64[1] t = {1}, int64[1] f = {9}> { c = Slice(x, s, e, a, p) y = Slice(c, t, f, a, p) }", {}, ["Slice"]),
    ("slices of an open axis", "g (float[N,9] x) => (float[M,9] y) <int64[1] s = {-2}, int64[1] e = {9223372036854775807}, int64[1] a = {0}, int64[1] f = {1}, int64[1] z = {0}> { c = Slice(x, s, e, a) y = Slice(c, z, f, a) }", {}, ["Slice", "Slice"]),
    ("slices backwards", "g (float[N,9] x) => (float[N,4] y) <int64[1] s = {-1}, int64[1] e = {-10}, int64[1] a = {1}, int64[1] m = {-1}, int64[1] t = {2}, int64[1] f = {6}> { c = Slice(x, s, e, a, m) y = Slice(c, t, f, a) }", {}, ["Slice", "Slice"]),
    ("part of a concat", f"g ({F} a, {F} b) => ({F} y) <int64[1] s = {{2}}, int64[1] e = {{4}}, int64[1] x = {{1}}> {{ i = Concat<axis=1>(a, b) j = Slice(i, s, e, x) y = Relu(j) }}", {}, ["Relu"]),
    ("part of two parts", f"g ({F} a, {F} b) => ({F} y) <int64[1] s = {{1}}, int64[1] e = {{3}}, int64[1] x = {{1}}> {{ i = Concat<axis=1>(a, b) y = Slice(i, s, e, x) }}", {}, ["Concat", "Slice"]),
    ("expand before add", "g (float[1,3] x, float[4,3] z) => (float[4,3] y) <int64[2] s = {4,3}> { e = Expand(x, s) y = Add(e, z) }", {}, ["Add"]),
    ("expand that widens the sum", "g (float[1,3] x, float[4,1] z) => (float[4,4,3] y) <int64[3] s = {4,1,3}> { e = Expand(x, s) y = Add(e, z) }", {}, ["Expand", "Add"]),
    # constants
    ("mul, mul", "g (float[N,4] x) => (float[N,4] y) { a = Mul(x, s) y = Mul(t, a) }", {"s": (4,), "t": (4,)}, ["Mul"]),
    ("mul, div", "g (float[N,4] x) => (float[N,4] y) { a = Div(x, s) y = Div(a, t) }", {"s": (1,), "t": ()}, ["Mul"]),
    ("add, sub", "g (float[N,4] x) => (float[N,4] y) { a = Add(x, s) y = Sub(a, t) }", {"s": (4,), "t": ()}, ["Add"]),
    ("add, mul", "g (float[N,4] x) => (float[N,4] y) { a = Add(x, s) y = Mul(a, t) }", {"s": (4,), "t": (4,)}, ["Add", "Mul"]),
    ("constants that make a matrix", "g (float[64,64] x) => (float[64,64] y) { a = Mul(x, s) y = Mul(a, t) }", {"s": (64,), "t": (64, 1)}, ["Mul", "Mul"]),
    ("a product read twice", "g (float[N,4] x) => (float[N,4] y, float[N,4] z) { a = Mul(x, s) y = Mul(a, t) z = Relu(a) }", {"s": (4,), "t": (4,)}, ["Mul", "Mul", "Relu"]),
    ("constants that are too large together", "g (float[N,2] x) => (float[N,2] y) <float a = {1e20}, float b = {1e15}> { d = Mul(x, a) y = Mul(d, b) }", {}, ["Mul", "Mul"]),
    ("constants that overflow on the way", "g (float[N,2] x) => (float[N,2] y) <float a = {1e30}, float b = {1e-30}> { c = Mul(x, a) d = Mul(c, a) y = Mul(d, b) }", {}, ["Mul"] * 3),
    ("constants that vanish on the way", "g (float[N,2] x) => (float[N,2] y) <float a = {1e-25}> { c = Mul(x, a) d = Mul(c, a) y = Div(d, a) }", {}, ["Mul", "Mul", "Div"]),
    ("two of three that overflow", "g (float[N,2] x) => (float[N,2] y) <float a = {1e19}, float k = {1e3}, float b = {1e-19}> { e = Mul(x, a) c = Mul(e, a) d = Mul(c, b) y = Mul(d, k) }", {}, ["Mul"] * 3),
    ("halves that overflow", "g (float16[N,2] x) => (float16[N,2] y) <float16 a = {25552}, float16 b = {5145}> { c = Mul(x, a) d = Mul(c, a) y = Mul(d, b) }", {}, ["Mul"] * 3),
    ("halves that do not", "g (float16[N,2] x) => (float16[N,2] y) <float16 a = {16384}, float16 b = {14336}> { c = Mul(x, a) y = Mul(c, b) }", {}, ["Mul"]),
    ("terms that round x", "g (float[N,2] x) => (float[N,2] y) <float a = {12582912.0}> { c = Add(x, a) y = Sub(c, a) }", {}, ["Add", "Sub"]),
    ("conv, a factor that overflows", "g (float[N,3,8,8] x) => (float[N,C,H,W] y) <float a = {1e38}, float b = {1e-38}> { c = Conv(x, w) d = Mul(c, a) e = Mul(d, a) y = Mul(e, b) }", {"w": (4, 3, 3, 3)}, ["Conv", "Mul", "Mul", "Mul"]),
    ("integers", "g (int64[N,2] x) => (int64[N,2] y) <int64 a = {3}, int64 b = {2}> { d = Div(x, a) y = Mul(d, b) }", {}, ["Div", "Mul"]),
    ("neg, neg", "g (float[N,2] x) => (float[N,2] y) { a = Neg(x) b = Neg(a) y = Relu(b) }", {}, ["Relu"]),
    ("abs, abs", "g (float[N,2] x) => (float[N,2] y) { a = Abs(x) y = Abs(a) }", {}, ["Abs"]),
    ("plus a negative", "g (float[N,2] x, float[N,2] z) => (float[N,2] y) { a = Neg(z) y = Add(x, a) }", {}, ["Sub"]),
    ("minus a negative", "g (float[N,2] x, float[N,2] z) => (float[N,2] y) { a = Neg(z) y = Sub(x, a) }", {}, ["Add"]),
    ("a negative plus", "g (float[N,2] x, float[N,2] z) => (float[N,2] y) { a = Neg(z) y = Add(a, x) }", {}, ["Sub"]),
    ("negative difference", "g (float[N,2] x, float[N,2] z) => (float[N,2] y) { a = Sub(x, z) y = Neg(a) }", {}, ["Sub"]),
    ("times minus one", "g (float[N,4] x, float[N,4] z) => (float[N,4] y) <float[1] c = {-1.0}> { a = Mul(c, z) y = Add(x, a) }", {}, ["Sub"]),
    ("minus one that widens", "g (float[N,4] x) => (float[1,N,4] y) <float[1,1,1] c = {-1.0}> { y = Mul(x, c) }", {}, ["Mul"]),
    ("minus ones that widen", "g (float[1,4] x) => (float[2,4] y) <float[2,1] c = {-1.0,-1.0}> { y = Div(x, c) }", {}, ["Div"]),
    ("negative product", "g (float[N,4] x) => (float[N,4] y) { a = Mul(s, x) y = Neg(a) }", {"s": (4,)}, ["Mul"]),
    ("product of a negative", "g (float[N,4] x) => (float[N,4] y) { a = Neg(x) y = Mul(a, s) }", {"s": (1,)}, ["Mul"]),
    ("negative quotient", "g (float[N,4] x) => (float[N,4] y) { b = Exp(x) a = Div(s, b) y = Neg(a) }", {"s": ()}, ["Exp", "Div"]),
    ("quotient of a negative", "g (float[N,4] x) => (float[N,4] y) { a = Neg(x) y = Div(a, s) }", {"s": (4,)}, ["Div"]),
    ("negative product, read twice", "g (float[N,4] x) => (float[N,4] y, float[N,4] z) { a = Mul(x, s) y = Neg(a) z = Exp(a) }", {"s": (4,)}, ["Mul", "Neg", "Exp"]),
    ("negative product of integers", "g (int32[N,4] x) => (int32[N,4] y) <int32 c = {3}> { a = Mul(x, c) y = Neg(a) }", {}, ["Mul", "Neg"]),
    ("negative product of tensors", "g (float[N,4] x, float[N,4] z) => (float[N,4] y) { a = Mul(x, z) y = Neg(a) }", {}, ["Mul", "Neg"]),
    ("conv, neg", "g (float[N,3,8,8] x) => (float[N,C,H,W] y) { c = Conv(x, w, k) y = Neg(c) }", {"w": (4, 3, 3, 3), "k": (4,)}, ["Conv"]),
    ("times a reciprocal", "g (float[N,2] x) => (float[N,2] y) { a = Exp(x) b = Reciprocal(a) y = Mul(b, x) }", {}, ["Exp", "Div"]),
    # casts
    ("casts up", "g (bool[N,2] x) => (float[N,2] y) { a = Cast<to=7>(x) y = Cast<to=1>(a) }", {}, ["Cast"]),
    ("casts there and back", "g (int32[N,2] x) => (int32[N,2] y) { a = Cast<to=7>(x) b = Cast<to=6>(a) y = Abs(b) }", {}, ["Abs"]),
    ("casts that lose", "g (float[N,2] x) => (float[N,2] y) { a = Cast<to=7>(x) y = Cast<to=1>(a) }", {}, ["Cast", "Cast"]),
    ("casts that round", "g (int32[N,2] x) => (int32[N,2] y) { a = Cast<to=1>(x) y = Cast<to=6>(a) }", {}, ["Cast", "Cast"]),
    ("casts that cut", "g (int64[N,2] x) => (int64[N,2] y) { a = Cast<to=6>(x) y = Cast<to=7>(a) }", {}, ["Cast", "Cast"]),
    ("casts up, down, as an output", "g (float[N,2] x) => (float[N,2] y) { a = Cast<to=11>(x) y = Cast<to=1>(a) }", {}, ["Identity"]),
    ("casts up and further down", "g (float[N,2] x) => (float16[N,2] y) { a = Cast<to=11>(x) y = Cast<to=10>(a) }", {}, ["Cast"]),
    ("casts down, further down", "g (double[N,2] x) => (float16[N,2] y) { a = Cast<to=1>(x) y = Cast<to=10>(a) }", {}, ["Cast", "Cast"]),
    ("casts of the low bits", "g (int64[N,2] x) => (int8[N,2] y) { a = Cast<to=6>(x) y = Cast<to=3>(a) }", {}, ["Cast"]),
    ("casts through another sign", "g (int32[N,2] x) => (int32[N,2] y) { a = Cast<to=12>(x) b = Cast<to=6>(a) y = Abs(b) }", {}, ["Abs"]),
    ("casts of another sign, wider", "g (int32[N,2] x) => (int64[N,2] y) { a = Cast<to=12>(x) y = Cast<to=7>(a) }", {}, ["Cast", "Cast"]),
    ("casts of integers to booleans", "g (int64[N,2] x) => (bool[N,2] y) { a = Cast<to=1>(x) y = Cast<to=9>(a) }", {}, ["Cast"]),
    ("casts of floats to booleans", "g (double[N,2] x) => (bool[N,2] y) { a = Cast<to=1>(x) y = Cast<to=9>(a) }", {}, ["Cast", "Cast"]),
    ("bfloat16 there and back", "g (float[N,2] x) => (float[N,2] y) { a = Cast<to=16>(x) b = Cast<to=1>(a) c = Cast<to=16>(b) y = Cast<to=1>(c) }", {}, ["Cast", "Cast"]),
    # choices and reductions
    ("where always", "g (float[4] x, float[4] z) => (float[4] y) <bool[1] c = {1}> { a = Where(c, x, z) y = Relu(a) }", {}, ["Relu"]),
    ("where that widens", "g (float[4] x, float[3,4] z) => (float[3,4] y) <bool[1] c = {1}> { y = Where(c, x, z) }", {}, ["Where"]),
    ("where not", "g (bool[N] c, float[N] x, float[N] z) => (float[N] y) { d = Not(c) y = Where(d, x, z) }", {}, ["Where"]),
    ("mean over a one", "g (float[N,1,3] x) => (float[N,3] y) <int64[1] a = {1}> { y = ReduceMean<keepdims=0>(x, a) }", {}, ["Reshape"]),
    ("mean over a one, kept", "g (float[N,1,3] x) => (float[N,1,3] y) <int64[1] a = {1}> { b = ReduceMax(x, a) y = Relu(b) }", {}, ["Relu"]),
    ("reduce, unsqueeze", "g (float[N,2,3] x) => (float[N,1,3] y) <int64[1] a = {1}> { b = ReduceSum<keepdims=0>(x, a) y = Unsqueeze(b, a) }", {}, ["ReduceSum"]),
    ("reduce, unsqueeze elsewhere", "g (float[N,2,3] x) => (float[N,3,1] y) <int64[1] a = {1}, int64[1] b = {2}> { c = ReduceSum<keepdims=0>(x, a) y = Unsqueeze(c, b) }", {}, ["ReduceSum", "Reshape"]),
    ("reduce, squeeze", "g (float[N,2,3] x) => (float[N,3] y) <int64[1] a = {1}> { b = ReduceSum(x, a) y = Squeeze(b, a) }", {}, ["ReduceSum"]),
    # transposes and reshapes
    ("transpose of ones", "g (float[N,4,1,1] x) => (float[N,1,1,4] y) { y = Transpose<perm=[0,2,3,1]>(x) }", {}, ["Reshape"]),
    ("transpose, unsqueeze", "g (float[N,6,1,5] x) => (float[N,5,6,1] y) <int64[4] s = {-1,5,6,1}> { a = Transpose<perm=[0,2,3,1]>(x) y = Reshape(a, s) }", {}, ["Transpose"]),
    ("unsqueeze, transpose", "g (float[N,6,5] x) => (float[N,1,6,5] y) <int64[1] a = {3}> { b = Unsqueeze(x, a) y = Transpose<perm=[0,3,1,2]>(b) }", {}, ["Reshape"]),
    ("transpose, flatten", "g (float[N,6,5] x) => (float[N,30] y) { a = Transpose<perm=[0,2,1]>(x) y = Flatten(a) }", {}, ["Transpose", "Reshape"]),
    ("transposes around a concat", "g (float[N,2,3,4] x, float[N,2,3,4] z) => (float[N,4,3,4] y) { a = Transpose<perm=[0,2,3,1]>(x) b = Transpose<perm=[0,2,3,1]>(z) c = Concat<axis=3>(a, b) y = Transpose<perm=[0,3,1,2]>(c) }", {}, ["Concat"]),
    ("transposes around a softmax", "g (float[N,2,3,4] x) => (float[N,2,3,4] y) { a = Transpose<perm=[0,2,3,1]>(x) c = Softmax<axis=-1>(a) y = Transpose<perm=[0,3,1,2]>(c) }", {}, ["Softmax"]),
    ("transposes around a pad", "g (float[N,2,3,4] x) => (float[N,2,4,6] y) <int64[8] p = {0,1,2,0,0,0,0,0}> { a = Transpose<perm=[0,2,3,1]>(x) c = Pad(a, p) y = Transpose<perm=[0,3,1,2]>(c) }", {}, ["Pad"]),
    ("transposes around a slice", "g (float[N,2,3,4] x) => (float[N,2,2,4] y) <int64[1] s = {1}, int64[1] e = {3}, int64[1] i = {1}> { a = Transpose<perm=[0,2,3,1]>(x) c = Slice(a, s, e, i) y = Transpose<perm=[0,3,1,2]>(c) }", {}, ["Slice"]),
    ("transposes around a split", "g (float[N,4,3,5] x) => (float[N,2,3,5] y, float[N,2,3,5] z) { a = Transpose<perm=[0,2,3,1]>(x) b, c = Split<axis=-1,num_outputs=2>(a) y = Transpose<perm=[0,3,1,2]>(b) z = Transpose<perm=[0,3,1,2]>(c) }", {}, ["Split"]),
    ("transposes around a mean", "g (float[N,2,3,4] x) => (float[N,2,1,1] y) <int64[2] i = {1,2}> { a = Transpose<perm=[0,2,3,1]>(x) c = ReduceMean(a, i) y = Transpose<perm=[0,3,1,2]>(c) }", {}, ["ReduceMean"]),
    ("transpose before a mean of all but channels", "g (float[N,2,3,4] x) => (float[N,2] y) <int64[2] i = {1,2}> { a = Transpose<perm=[0,2,3,1]>(x) y = ReduceMean<keepdims=0>(a, i) }", {}, ["ReduceMean"]),
    ("transpose before a mean of channels", "g (float[N,2,3,4] x) => (float[N,3,4] y) <int64[1] i = {3}> { a = Transpose<perm=[0,2,3,1]>(x) y = ReduceMean<keepdims=0>(a, i) }", {}, ["ReduceMean"]),
    ("transpose before a mean that mixes", "g (float[N,2,3,4] x) => (float[N,4,2] y) <int64[1] i = {1}> { a = Transpose<perm=[0,2,3,1]>(x) y = ReduceMean<keepdims=0>(a, i) }", {}, ["Transpose", "ReduceMean"]),
    ("two transposes, one sum", "g (float[N,2,3] x, float[N,2,3] z) => (float[N,3,2] y) { a = Transpose<perm=[0,2,1]>(x) b = Transpose<perm=[0,2,1]>(z) y = Add(a, b) }", {}, ["Add", "Transpose"]),
    ("transposes around a long way", "g (float[N,2,3,4] x) => (float[N,2,3,4] y) { a = Transpose<perm=[0,2,3,1]>(x) b = Sigmoid(a) c = Mul(a, b) d = Transpose<perm=[0,3,1,2]>(c) e = Conv<kernel_shape=[1,1]>(d, w) f = Transpose<perm=[0,2,3,1]>(e) h = Add(f, c) y = Transpose<perm=[0,3,1,2]>(h) }", {"w": (2, 2, 1, 1)}, ["Sigmoid", "Mul", "Conv", "Add"]),
    ("transposes to the output as it is", "g (float[N,2,3] x) => (float[N,2,3] y) { a = Transpose<perm=[0,2,1]>(x) y = Transpose<perm=[0,2,1]>(a) }", {}, ["Identity"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "weights", "after"), [row[1:] for row in RULES], ids=[row[0] for row in RULES])
def test_rule(text: str, weights: dict[str, tuple[int, ...]], after: list[str]) -> None:
    assert_rule(text, weights, after)
