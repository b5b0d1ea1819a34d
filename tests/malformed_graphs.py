"""Graphs that no runtime could take: rows of (kind, what is wrong, the graph in ONNX's text form)."""

from __future__ import annotations

import onnx
import onnx.parser

HEAD = '<ir_version: 10, opset_import: ["": 21]>'
IN, OUT = "(float[N,4] x)", "(float[N,4] y)"


def unary(nodes: str, inputs: str = IN, outputs: str = OUT, weights: str = "") -> str:
    """A graph of one input and one output around these nodes."""
    held = f"<{weights}>" if weights else ""
    return f"g {inputs} => {outputs} {held} {{ {nodes} }}"


def scalar(nodes: str, weights: str = "", dtype: str = "float") -> str:
    """A graph of scalars, as far as it says."""
    return unary(nodes, f"({dtype} x)", f"({dtype} y)", weights)


def summed(nodes: str, weights: str = "", dtype: str = "float") -> str:
    """A graph whose output is the sum of `z`, so that it has the shape that it says."""
    return scalar(f"{nodes} y = ReduceSum<keepdims = 0>(z)", weights, dtype)


def image(nodes: str, weights: str = "") -> str:
    """A graph on a small image whose output's height and width are open."""
    return unary(nodes, "(float[1,1,4,4] x)", "(float[1,1,K,L] y)", weights)


def choice(then: str, otherwise: str = "(float[N,4] b) { b = Identity(x) }") -> str:
    """An If with two branches: their outputs and nodes."""
    node = f"If (c) <then_branch = t () => {then}, else_branch = e () => {otherwise}>"
    return unary(f"c = Constant<value = bool {{1}}>() y = {node}")


def loop(inputs: str, outputs: str, nodes: str) -> str:
    """A Loop of three rounds over x with this body."""
    return unary(
        f"m = Constant<value = int64 {{3}}>() y = Loop(m, , x) <body = b ({inputs}) => ({outputs}) {{ {nodes} }}>"
    )


TYPES = {
    "float and int64": unary("y = Add(x, w)", weights="int64[4] w = {1, 2, 3, 4}"),
    "int32 image": unary("y = Conv(x, w)", "(int32[1,1,4,4] x)", "(int32[1,1,4,4] y)", "int32[1,1,1,1] w = {1}"),
    "float condition": unary("y = Where(x, x, x)"),
    "float index": unary("y = Gather(x, i)", weights="float[1] i = {0.0}"),
    "not of float": unary("y = Not(x)"),
    "product of strings": unary("y = MatMul(x, x)", "(string[4,4] x)", "(string[4,4] y)"),
    "mixed Concat": unary("y = Concat<axis = 0>(x, w)", weights="int32[1,4] w = {1, 2, 3, 4}"),
    "float shape": unary("y = Reshape(x, s)", weights="float[2] s = {4.0, 1.0}"),
    "float If": unary("y = If (x) <then_branch = t () => (float[N,4] a) { a = Identity(x) }, "
                      "else_branch = e () => (float[N,4] b) { b = Identity(x) }>"),
    "declared int64": unary("y = Relu(x)", outputs="(int64[N,4] y)"),
    "half slope": unary("y = PRelu(x, w)", weights="float16[1] w = {1}"),
    "zero point": unary("q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, w)",
                        weights="float s = {0.5}, uint8 z = {0}, int8 w = {0}"),
}  # fmt: skip

SHAPES = {
    "rows and columns": unary("y = MatMul(x, w)", weights="float[3,4] w = {1,2,3,4,5,6,7,8,9,10,11,12}"),
    "sum of 4 and 3": unary("y = Add(x, w)", weights="float[3] w = {1, 2, 3}"),
    "Concat of ranks": unary("y = Concat<axis = 0>(x, w)", weights="float[4] w = {1, 2, 3, 4}"),
    "two open dims": unary("y = Reshape(x, s)", weights="int64[2] s = {-1, -1}"),
    "negative dim": unary("y = Reshape(x, s)", weights="int64[2] s = {-2, 4}"),
    "shape that overflows": unary(
        "y = Reshape(x, s)", "(float[2,4] x)", "(float y)", "int64[3] s = {4294967296, 4294967296, 8}"
    ),
    "shape of other size": unary("y = Reshape(x, s)", "(float[2,4] x)", "(float[3,3] y)", "int64[2] s = {3, 3}"),
    "zero copied from nowhere": unary(
        "y = Reshape(x, s)", "(float[2,4] x)", "(float[2,4,1] y)", "int64[3] s = {2, 4, 0}"
    ),
    "squeezed dim of 4": unary("y = Squeeze(x, a)", "(float[2,4] x)", "(float[2] y)", "int64[1] a = {1}"),
    "axis of Squeeze": unary("y = Squeeze(x, a)", "(float[1,4] x)", "(float[4] y)", "int64[1] a = {9}"),
    "axes twice": unary("y = Unsqueeze(x, a)", "(float[2,4] x)", "(float[1,1,2,4] y)", "int64[2] a = {0, 0}"),
    "split sizes": unary("y, z = Split(x, s)", "(float[2,4] x)", "(float[2,3] y)", "int64[2] s = {3, 3}"),
    "tile counts": unary("y = Tile(x, r)", "(float[2,4] x)", "(float[2,4] y)", "int64[3] r = {1, 1, 1}"),
    "pads": unary("y = Pad(x, p)", "(float[2,4] x)", "(float[2,4] y)", "int64[3] p = {1, 1, 1}"),
    "cut to nothing": unary("y = Pad(x, p)", "(float[2,4] x)", "(float y)", "int64[4] p = {-9, 0, 0, 0}"),
    "window": unary("y = MaxPool<kernel_shape = [9, 9]>(x)", "(float[1,1,4,4] x)", "(float[1,1,1,1] y)"),
    "vector image": unary("y = MaxPool<kernel_shape = [2]>(x)", "(float[4] x)", "(float[4] y)"),
    "channels": unary("y = Conv(x, w)", "(float[1,4,4,4] x)", "(float[1,1,4,4] y)", "float[1,2,1,1] w = {1, 2}"),
    "output rank": unary("y = Relu(x)", outputs="(float[N,4,1] y)"),
    "output dim": unary("y = Relu(x)", outputs="(float[N,5] y)"),
    "expansion": unary("y = Expand(x, s)", "(float[2,4] x)", "(float[2,3] y)", "int64[2] s = {2, 3}"),
    "negative sizes": unary("y = ConstantOfShape(s)", "(float x)", "(float y)", "int64[2] s = {-1, 4}"),
    "step of zero": unary(
        "y = Range(a, b, c)", "(float x)", "(float[K] y)", "float a = {0}, float b = {4}, float c = {0}"
    ),
    "slice step zero": unary(
        "y = Slice(x, a, b, c, d)", "(float[2,4] x)", "(float[2,K] y)",
        "int64[1] a = {0}, int64[1] b = {4}, int64[1] c = {1}, int64[1] d = {0}",
    ),
    "scales": unary("y = Resize(x, , s)", "(float[1,1,4,4] x)", "(float y)", "float[3] s = {1, 1, 2}"),
    "index of 9": unary("y = Gather<axis = 1>(x, i)", "(float[2,4] x)", "(float[2,1] y)", "int64[1] i = {9}"),
    "Einsum": unary('y = Einsum<equation = "ij,jk->ik">(x)'),
    "Gemm": unary("y = Gemm(x, w)", "(float[2,4] x)", "(float[2,3] y)", "float[3,3] w = {1,2,3,4,5,6,7,8,9}"),
}  # fmt: skip

ATTRIBUTES = {
    "axis as text": unary('y = Softmax<axis = "1">(x)'),
    "axis as list": unary("y = Softmax<axis = [1]>(x)"),
    "axis beyond rank": unary("y = Softmax<axis = 7>(x)"),
    "perm of floats": unary("y = Transpose<perm = [0.5, 1.5]>(x)"),
    "perm twice": unary("y = Transpose<perm = [0, 0]>(x)"),
    "perm beyond": unary("y = Transpose<perm = [0, 5]>(x)"),
    "perm short": unary("y = Transpose<perm = [0]>(x)"),
    "no axis": unary("y = Concat(x, x)"),
    "no `to`": unary("y = Cast(x)"),
    "`to` of no type": unary("y = Cast<to = 999>(x)"),
    "`to` negative": unary("y = Cast<to = -1>(x)"),
    "unknown attribute": unary("y = Relu<speed = 11>(x)"),
    "reference outside a function": unary("y = Softmax<axis: int = @axis>(x)"),
    "Constant of nothing": unary("c = Constant() y = Add(x, c)"),
    "Constant of two": unary("c = Constant<value_float = 1.0, value_int = 1>() y = Add(x, c)"),
    "kernel of zero": unary("y = MaxPool<kernel_shape = [0, 0]>(x)", "(float[1,1,4,4] x)", "(float y)"),
    "kernel of three": unary("y = MaxPool<kernel_shape = [1, 1, 1]>(x)", "(float[1,1,4,4] x)", "(float y)"),
    "no kernel": unary("y = MaxPool(x)", "(float[1,1,4,4] x)", "(float y)"),
    "strides of zero": unary(
        "y = MaxPool<kernel_shape = [2, 2], strides = [0, 0]>(x)", "(float[1,1,4,4] x)", "(float[1,1,K,L] y)"
    ),
    "strides below": unary(
        "y = AveragePool<kernel_shape = [2, 2], strides = [-1, -1]>(x)", "(float[1,1,4,4] x)", "(float[1,1,K,L] y)"
    ),
    "dilations of zero": unary(
        "y = Conv<dilations = [0, 0]>(x, w)", "(float[1,1,4,4] x)", "(float[1,1,K,L] y)", "float[1,1,2,2] w = {1,2,3,4}"
    ),
    "pads of three": unary(
        "y = Conv<pads = [1, 1, 1]>(x, w)", "(float[1,1,4,4] x)", "(float[1,1,K,L] y)", "float[1,1,2,2] w = {1,2,3,4}"
    ),
    "groups of zero": unary(
        "y = Conv<group = 0>(x, w)", "(float[1,1,4,4] x)", "(float[1,1,K,L] y)", "float[1,1,1,1] w = {1}"
    ),
    "groups of three": unary(
        "y = Conv<group = 3>(x, w)", "(float[1,2,4,4] x)", "(float[1,1,K,L] y)", "float[1,1,1,1] w = {1}"
    ),
    "auto_pad": unary(
        'y = Conv<auto_pad = "SOMEHOW">(x, w)', "(float[1,1,4,4] x)", "(float[1,1,4,4] y)", "float[1,1,1,1] w = {1}"
    ),
    "block size": unary("y = DepthToSpace<blocksize = 0>(x)", "(float[1,4,2,2] x)", "(float[1,K,L,M] y)"),
    "direction": unary(
        'y = LSTM<hidden_size = 1, direction = "sideways">(x, w, r)', "(float[1,1,1] x)", "(float[1,1,1,1] y)",
        "float[1,4,1] w = {1,2,3,4}, float[1,4,1] r = {1,2,3,4}",
    ),
}  # fmt: skip

OPERATORS = {
    "unknown op": unary("y = Rely(x)"),
    "op of later opsets": unary("y = Swish(x)"),
    "op of no opset": unary("y = Scatter(x, x, x)"),
    "op of an unknown domain": unary("y = strange.Relu(x)"),
    "too many inputs": unary("y = Relu(x, x, x)"),
    "too few inputs": unary("y = Add(x)"),
    "no input at all": unary("y = Relu()"),
    "left out input": unary("y = Add(x, )"),
    "too many outputs": unary("y, z = Relu(x)"),
    "no nodes": unary(""),
    "undefined": unary("y = Add(x, gone)"),
    "undefined output": unary("z = Relu(x)"),
    "itself": unary("y = Add(x, y)"),
    "two of each other": unary("a = Add(x, b) b = Relu(a) y = Relu(b)"),
    "long way round": unary("a = Add(x, d) b = Relu(a) c = Relu(b) d = Relu(c) y = Relu(d)"),
    "twice the same name": unary("y = Relu(x) y = Abs(x)"),
    "name of an input": unary("x = Relu(x) y = Abs(x)"),
    "name of a weight": unary("w = Relu(x) y = Abs(w)", weights="float[1] w = {1}"),
    "two inputs alike": unary("y = Relu(x)", "(float[N,4] x, float[N,4] x)"),
    "two weights alike": unary("y = Add(x, w)", weights="float[1] w = {1}, float[1] w = {2}"),
}

BODIES = {
    "captures nothing": choice("(float[N,4] a) { a = Relu(gone) }"),
    "one branch": unary(
        "c = Constant<value = bool {1}>() y = If (c) <then_branch = t () => (float[N,4] a) { a = Relu(x) }>"
    ),
    "branches of 1 and 2": choice("(float[N,4] a) { a = Relu(x) }", "(float b, float d) { b = Relu(x) d = Abs(x) }"),
    "branches of two types": choice("(float a) { a = Relu(x) }", "(int64 b) { b = Cast<to = 7>(x) }"),
    "undefined branch output": choice("(float[N,4] a) { q = Relu(x) }"),
    "branch as number": unary("c = Constant<value = bool {1}>() y = If <then_branch = 1, else_branch = 2> (c)"),
    "cycle inside": choice("(float[N,4] a) { p = Add(x, q) q = Relu(p) a = Relu(q) }"),
    "cycle through a branch": choice("(float[N,4] a) { a = Relu(y) }"),
    "twice inside": choice("(float[N,4] a) { a = Relu(x) a = Abs(x) }"),
    "loop of no body": unary("m = Constant<value = int64 {3}>() y = Loop(m, , x)"),
    "loop of few inputs": loop(
        "int64 i", "bool c, float[N,4] o", "c = Constant<value = bool {1}>() o = Relu(x)"
    ),
    "loop of few outputs": loop("int64 i, bool c, float[N,4] s", "float[N,4] o", "o = Relu(s)"),
    "loop on a float": loop(
        "int64 i, bool c, float[N,4] s", "float d, float[N,4] o", "d = Constant<value = float {1}>() o = Relu(s)"
    ),
    "loop state changes type": loop(
        "int64 i, bool c, float[N,4] s", "bool d, int64[N,4] o", "d = Identity(c) o = Cast<to = 7>(s)"
    ),
    "scan over nothing": unary(
        "y = Scan<num_scan_inputs = 9, body = b (float[4] s) => (float[4] o) { o = Relu(s) }>(x)"
    ),
    "scan without count": unary("y = Scan<body = b (float[4] s) => (float[4] o) { o = Relu(s) }>(x)"),
}  # fmt: skip

MILLION, TRILLION = 10**6, 10**12
BOMBS = {
    "ConstantOfShape": summed("c = ConstantOfShape(s) z = Add(x, c)", f"int64[1] s = {{{TRILLION}}}"),
    "ConstantOfShape, dims": summed("c = ConstantOfShape(s) z = Add(x, c)", f"int64[2] s = {{{TRILLION}, {MILLION}}}"),
    "Expand": summed("c = Expand(w, s) z = Add(x, c)", f"float w = {{1}}, int64[2] s = {{{MILLION}, {TRILLION}}}"),
    "Tile": summed("c = Tile(w, s) z = Add(x, c)", f"float[1] w = {{1}}, int64[1] s = {{{TRILLION}}}"),
    "Range": summed("c = Range(a, b, d) z = Add(x, c)", "float a = {0}, float b = {1e15}, float d = {1}"),
    "Range of int64": summed(
        "c = Range(a, b, d) z = Add(x, c)", "int64 a = {0}, int64 b = {9223372036854775807}, int64 d = {1}", "int64"
    ),
    "Resize": image("y = Resize(x, , s)", "float[4] s = {1, 1, 1e6, 1e6}"),
    "Resize to sizes": image("y = Resize(x, , , s)", "int64[4] s = {1, 1, 10000000, 10000000}"),
    "Resize of a constant": summed(
        "c = Resize(w, , s) z = Add(x, c)", "float[1,1] w = {1}, float[2] s = {1e7, 1e7}"
    ),
    "Pad": unary("y = Pad(x, p)", "(float[4] x)", "(float[K] y)", f"int64[2] p = {{0, {TRILLION}}}"),
    "Pad of a constant": summed("c = Pad(w, p) z = Add(x, c)", f"float[1] w = {{1}}, int64[2] p = {{0, {TRILLION}}}"),
    "OneHot": unary(
        "y = OneHot(x, d, v)", "(int64[4] x)", "(float[4,K] y)", f"int64 d = {{{TRILLION}}}, float[2] v = {{0, 1}}"
    ),
    "EyeLike": summed(
        "c = ConstantOfShape(s) e = EyeLike(c) z = Add(x, e)", f"int64[2] s = {{{MILLION}, {MILLION}}}"
    ),
    "RandomNormal": summed(f"c = RandomNormal<shape = [{MILLION}, {MILLION}]>() z = Add(x, c)"),
    "ConvTranspose": image(
        f"y = ConvTranspose<strides = [{MILLION}, {MILLION}]>(x, w)", "float[1,1,1,1] w = {1}"
    ),
    "Conv pads": image(
        f"y = Conv<pads = [{MILLION}, {MILLION}, {MILLION}, {MILLION}]>(x, w)", "float[1,1,1,1] w = {1}"
    ),
    "huge input": unary("y = Relu(x)", "(float[1000000,1000000,1000000] x)", "(float[1000000,1000000,1000000] y)"),
    "input beyond int64": unary(
        "y = Flatten(x)", "(float[4611686018427387904,4611686018427387904] x)", "(float[K,L] y)"
    ),
    "doubled 40 times": summed(
        " ".join(f"c{i + 1} = Concat<axis = 0>(c{i}, c{i})" for i in range(40)) + " z = Add(x, c40)",
        "float[1] c0 = {1}",
    ),
    "doubled shapes": summed(
        " ".join(f"c{i + 1} = Concat<axis = 0>(c{i}, c{i})" for i in range(40)) + " z = Expand(x, c40)",
        "int64[1] c0 = {1}",
    ),
    "doubled texts": unary(
        " ".join(f"c{i + 1} = StringConcat(c{i}, c{i})" for i in range(40)) + " y = StringConcat(x, c40)",
        "(string[1] x)", "(string[1] y)", 'string[1] c0 = {"ab"}',
    ),
    "outer product": summed(
        "c = ConstantOfShape(s) d = Transpose(c) e = MatMul(c, d) z = Add(x, e)", f"int64[2] s = {{{TRILLION}, 1}}"
    ),
    "split in a trillion": unary(
        f"s = Constant<value_ints = [{TRILLION}]>() c = ConstantOfShape(s) q = SplitToSequence(c, l) "
        "y = SequenceLength(q)", "(float x)", "(int64 y)", "int64 l = {1}",
    ),
}  # fmt: skip

GRAPHS: dict[str, dict[str, str]] = {
    "types": TYPES,
    "shapes": SHAPES,
    "attributes": ATTRIBUTES,
    "operators": OPERATORS,
    "bodies": BODIES,
    "bombs": BOMBS,
}


def parsed(text: str) -> onnx.ModelProto:
    """The model in text form."""
    return onnx.parser.parse_model(f"{HEAD} {text}")
