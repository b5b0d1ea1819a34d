"""Small graphs in ONNX's text form, one for each kernel that a backend may have, with seeded weights."""

# ruff: noqa: E501  (a graph is one row of the table)

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnx.parser
from numpy.typing import NDArray
from onnx import numpy_helper

IMAGE = (1, 8, 9, 11)
"""Height and width differ, and neither is a multiple of the strides: a layout mixed up is seen."""
POSITIVE = frozenset({"v"})
"""Variances."""


@dataclass(frozen=True)
class Graph:
    """A body over inputs `x` (and `z`, of the same shape), giving `y`; weights by name with their shape."""

    name: str
    body: str
    weights: tuple[tuple[str, tuple[int, ...]], ...] = ()
    inputs: tuple[tuple[str, tuple[int | str, ...]], ...] = (("x", IMAGE),)
    opset: int = 21

    def proto(self) -> onnx.ModelProto:
        """The model, its output's shape left to inference."""
        inputs = ", ".join(f"float[{','.join(map(str, dims))}] {name}" for name, dims in self.inputs)
        text = f'<ir_version: 10, opset_import: ["": {self.opset}]> g ({inputs}) => (float y) {{ {self.body} }}'
        model = onnx.parser.parse_model(text)
        model.graph.output[0].type.tensor_type.ClearField("shape")
        rng = np.random.default_rng(7)
        for name, shape in self.weights:
            weight = self._weight(rng, shape)
            positive = np.abs(weight) + np.float32(0.1) if name in POSITIVE else weight
            model.graph.initializer.append(numpy_helper.from_array(positive, name))
        return model

    def behind_a_kernel(self) -> Graph:
        """The graph on doubled inputs: what only moves data is quantized where an arithmetic kernel stands before it."""
        doubled = " ".join(f"{name} = Add({name}_in, {name}_in)" for name, _ in self.inputs)
        inputs = tuple((f"{name}_in", dims) for name, dims in self.inputs)
        return replace(self, name=f"{self.name}_behind_a_kernel", body=f"{doubled} {self.body}", inputs=inputs)

    @staticmethod
    def _weight(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Normal weights, each channel of another size, so that one scale for all would show."""
        drawn = rng.normal(0, 0.3, shape)
        spread = np.linspace(0.2, 2.0, shape[0]).reshape(-1, *(1,) * (len(shape) - 1)) if shape else 1.0
        return np.asarray(drawn * spread, np.float32)

    def samples(self, count: int, seed: int = 0) -> dict[str, NDArray[np.float32]]:
        """Normal inputs, first axis samples."""
        rng = np.random.default_rng(seed)
        return {name: rng.normal(0.3, 1.5, (count, *dims[1:])).astype(np.float32) for name, dims in self.inputs}


def _conv(  # noqa: PLR0917
    name: str, attributes: str, out: int = 6, inputs: int = 8, tail: str = "", bias: bool = True
) -> Graph:
    weights: tuple[tuple[str, tuple[int, ...]], ...] = (("w", (out, inputs, 3, 3)),)
    weights += (("b", (out,)),) if bias else ()
    given = f"<{attributes}>" if attributes else ""
    call = f"Conv{given}({'x, w, b' if bias else 'x, w'})"
    return Graph(name, f"c = {call} {tail}" if tail else f"y = {call}", weights)


PAIR = (("x", IMAGE), ("z", IMAGE))
ROWS = (("x", (1, 24)),)
SIX = "lo = Constant<value = float {0}>() hi = Constant<value = float {6}>()"
ONE = "lo = Constant<value = float {0}>() hi = Constant<value = float {1}>()"
OFF = "lo = Constant<value = float {-0.7}>() hi = Constant<value = float {2.5}>()"

GRAPHS = (
    _conv("conv_valid", ""),
    _conv("conv_no_bias", "", bias=False),
    _conv("conv_same", "pads = [1,1,1,1]"),
    _conv("conv_stride_2", "pads = [1,1,1,1], strides = [2,2]"),
    _conv("conv_stride_2_asymmetric", "pads = [0,0,1,1], strides = [2,2]"),
    _conv("conv_auto_pad", 'auto_pad = "SAME_UPPER", strides = [2,2]'),
    _conv("conv_dilated", "pads = [2,2,2,2], dilations = [2,2]"),
    _conv("conv_depthwise", "group = 8, pads = [1,1,1,1]", out=8, inputs=1),
    _conv("conv_depthwise_multiplier", "group = 8, pads = [1,1,1,1]", out=16, inputs=1),
    _conv("conv_grouped", "group = 2, pads = [1,1,1,1]", inputs=4),
    _conv("conv_relu", "pads = [1,1,1,1]", tail="y = Relu(c)"),
    _conv("conv_relu6", "pads = [1,1,1,1]", tail=f"{SIX} y = Clip(c, lo, hi)"),
    _conv("conv_clip_0_1", "pads = [1,1,1,1]", tail=f"{ONE} y = Clip(c, lo, hi)"),
    _conv("conv_clip_asymmetric", "pads = [1,1,1,1]", tail=f"{OFF} y = Clip(c, lo, hi)"),
    _conv("conv_hard_swish", "pads = [1,1,1,1]", tail="y = HardSwish(c)"),
    _conv("conv_sigmoid", "pads = [1,1,1,1]", tail="y = Sigmoid(c)"),
    _conv("conv_tanh", "pads = [1,1,1,1]", tail="y = Tanh(c)"),
    _conv("conv_hard_sigmoid", "pads = [1,1,1,1]", tail="y = HardSigmoid<alpha = 0.2, beta = 0.5>(c)"),
    _conv("conv_read_twice", "pads = [1,1,1,1]", out=8, tail="r = Relu(c) y = Add(r, c)"),
    Graph("conv_1d", "y = Conv<pads = [1,1]>(x, w, b)", (("w", (6, 8, 3)), ("b", (6,))), (("x", (1, 8, 17)),)),
    Graph(
        "conv_transpose",
        "y = ConvTranspose<strides = [2,2], pads = [1,1,1,1]>(x, w, b)",
        (("w", (8, 6, 4, 4)), ("b", (6,))),
    ),
    Graph("conv_transpose_full", "y = ConvTranspose<strides = [2,2]>(x, w)", (("w", (8, 6, 2, 2)),)),
    Graph("gemm", "y = Gemm<transB = 1>(x, w, b)", (("w", (10, 24)), ("b", (10,))), ROWS),
    Graph("gemm_scaled", "y = Gemm<alpha = 0.5, beta = 2.0>(x, w, b)", (("w", (24, 10)), ("b", (10,))), ROWS),
    Graph("gemm_relu", "c = Gemm<transB = 1>(x, w, b) y = Relu(c)", (("w", (10, 24)), ("b", (10,))), ROWS),
    Graph("matmul", "y = MatMul(x, w)", (("w", (24, 10)),), ROWS),
    Graph("matmul_rank_3", "m = MatMul(x, w) y = Add(m, b)", (("w", (24, 10)), ("b", (10,))), (("x", (1, 5, 24)),)),
    Graph(
        "flatten_gemm",
        "c = Conv(x, k) f = Flatten(c) y = Gemm<transB = 1>(f, w)",
        (("k", (4, 8, 3, 3)), ("w", (5, 252))),
    ),
    Graph("add", "y = Add(x, z)", inputs=PAIR),
    Graph("add_relu", "c = Add(x, z) y = Relu(c)", inputs=PAIR),
    Graph("sub", "y = Sub(x, z)", inputs=PAIR),
    Graph("mul", "y = Mul(x, z)", inputs=PAIR),
    Graph("add_per_channel", "y = Add(x, c)", (("c", (8, 1, 1)),)),
    Graph("mul_per_channel", "y = Mul(x, c)", (("c", (1, 8, 1, 1)),)),
    Graph("div_constant", "y = Div(x, c)", (("c", (8, 1, 1)),)),
    Graph(
        "squeeze_excite",
        "g = GlobalAveragePool(x) c = Conv(g, w, b) s = HardSigmoid(c) y = Mul(x, s)",
        (("w", (8, 8, 1, 1)), ("b", (8,))),
    ),
    Graph(
        "hard_swish_then_squeeze_excite",
        "h = HardSwish(x) g = GlobalAveragePool(h) c = Conv(g, w, b) s = HardSigmoid(c) m = Mul(h, s) y = Conv(m, k)",
        (("w", (8, 8, 1, 1)), ("b", (8,)), ("k", (6, 8, 1, 1))),
    ),
    Graph("hard_swish_squared", "h = HardSwish(x) m = Mul(h, h) y = Conv(m, k)", (("k", (6, 8, 1, 1)),)),
    Graph("relu_alone", "y = Relu(x)"),
    Graph("clip_alone", f"{SIX} y = Clip(x, lo, hi)"),
    Graph(
        "clip_above_zero", "lo = Constant<value = float {0.5}>() hi = Constant<value = float {2}>() y = Clip(x, lo, hi)"
    ),
    Graph("leaky_relu", "y = LeakyRelu<alpha = 0.1>(x)"),
    Graph("prelu", "y = PRelu(x, s)", (("s", (8, 1, 1)),)),
    Graph("sigmoid_alone", "y = Sigmoid(x)"),
    Graph("softmax_channels", "y = Softmax<axis = 1>(x)"),
    Graph("softmax_width", "y = Softmax<axis = 3>(x)"),
    Graph("max_pool", "y = MaxPool<kernel_shape = [2,2], strides = [2,2]>(x)"),
    Graph("max_pool_padded", "y = MaxPool<kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]>(x)"),
    Graph("max_pool_ceil", "y = MaxPool<kernel_shape = [3,3], strides = [2,2], ceil_mode = 1>(x)"),
    Graph("average_pool", "y = AveragePool<kernel_shape = [2,2], strides = [2,2]>(x)"),
    Graph("average_pool_uncounted", "y = AveragePool<kernel_shape = [3,3], pads = [1,1,1,1]>(x)"),
    Graph("average_pool_uneven", "y = AveragePool<kernel_shape = [3,3], strides = [2,2], pads = [1,0,1,1]>(x)"),
    Graph("average_pool_counted", "y = AveragePool<kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1>(x)"),
    Graph(
        "average_pool_ceil",
        "y = AveragePool<kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1], ceil_mode = 1>(x)",
        inputs=(("x", (1, 8, 10, 12)),),
    ),
    Graph(
        "average_pool_ceil_counted",
        "y = AveragePool<kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1], ceil_mode = 1, count_include_pad = 1>(x)",
        inputs=(("x", (1, 8, 10, 12)),),
    ),
    Graph("global_average", "y = GlobalAveragePool(x)"),
    Graph("reduce_mean_flat", "a = Constant<value_ints = [2,3]>() y = ReduceMean<keepdims = 0>(x, a)"),
    Graph("reduce_max", "a = Constant<value_ints = [1]>() y = ReduceMax(x, a)"),
    Graph("concat_channels", "y = Concat<axis = 1>(x, z)", inputs=PAIR),
    Graph("concat_of_sigmoid", "s = Sigmoid(x) y = Concat<axis = 1>(s, z)", inputs=PAIR),
    Graph(
        "split",
        "s = Constant<value_ints = [3,5]>() a, b = Split<axis = 1>(x, s) r = Relu(b) y = Concat<axis = 1>(r, a)",
    ),
    Graph(
        "slice",
        "s = Constant<value_ints = [1,2]>() e = Constant<value_ints = [7,100]>() a = Constant<value_ints = [1,3]>() y = Slice(x, s, e, a)",
    ),
    Graph("pad", "p = Constant<value_ints = [0,0,1,2,0,0,3,0]>() y = Pad(x, p)"),
    Graph("transpose", "y = Transpose<perm = [0,2,1,3]>(x)"),
    Graph("reshape", "s = Constant<value_ints = [1,4,18,11]>() y = Reshape(x, s)"),
    Graph(
        "resize_nearest",
        's = Constant<value_floats = [1.0,1.0,2.0,2.0]>() y = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(x, , s)',
    ),
    Graph("resize_linear", 's = Constant<value_floats = [1.0,1.0,2.0,2.0]>() y = Resize<mode = "linear">(x, , s)'),
    Graph("depth_to_space", "y = DepthToSpace<blocksize = 2>(x)"),
    Graph(
        "batch_norm_alone",
        "y = BatchNormalization(x, g, b, m, v)",
        (("g", (8,)), ("b", (8,)), ("m", (8,)), ("v", (8,))),
    ),
    Graph("residual", "c = Conv<pads = [1,1,1,1]>(x, w) r = Relu(c) y = Add(x, r)", (("w", (8, 8, 3, 3)),)),
    Graph(
        "broadcast_vector",
        "g = GlobalAveragePool(x) f = Flatten(g) m = Gemm(f, w) s = Constant<value_ints = [1,8,1,1]>() r = Reshape(m, s) y = Mul(x, r)",
        (("w", (8, 8)),),
    ),
    # what a kernel may silently leave out or mix up
    Graph(
        "clip_in_concat",
        f"c = Conv<pads = [1,1,1,1]>(x, w) {OFF} r = Clip(c, lo, hi) y = Concat<axis = 1>(r, z)",
        (("w", (8, 8, 3, 3)),),
        PAIR,
    ),
    Graph("clip_of_sum_in_concat", f"c = Add(x, z) {ONE} r = Clip(c, lo, hi) y = Concat<axis = 1>(z, r)", inputs=PAIR),
    Graph("product_of_two_relu", "m = MatMul(x, z) y = Relu(m)", inputs=(("x", (1, 3, 5, 7)), ("z", (1, 3, 7, 4)))),
    Graph(
        "reduce_batch_and_height",
        "c = Conv(x, w) a = Constant<value_ints = [0,2]>() y = ReduceMean<keepdims = 0>(c, a)",
        (("w", (8, 8, 3, 3)),),
    ),
    Graph(
        "reduce_batch_and_channels",
        "c = Conv(x, w) a = Constant<value_ints = [0,1]>() y = ReduceMax<keepdims = 0>(c, a)",
        (("w", (8, 8, 3, 3)),),
    ),
    Graph(
        "slice_backwards",
        "s = Constant<value_ints = [-1,100]>() e = Constant<value_ints = [-100,-100]>() a = Constant<value_ints = [1,3]>() t = Constant<value_ints = [-1,-2]>() y = Slice(x, s, e, a, t)",
    ),
    Graph(
        "slice_backwards_from_before",
        "s = Constant<value_ints = [-100]>() e = Constant<value_ints = [-100]>() a = Constant<value_ints = [1]>() t = Constant<value_ints = [-1]>() y = Slice(x, s, e, a, t)",
    ),
    Graph(
        "slice_of_batch",
        "s = Constant<value_ints = [0]>() e = Constant<value_ints = [9223372036854775807]>() t = Constant<value_ints = [2]>() y = Slice(x, s, e, s, t)",
        inputs=(("x", ("N", 4, 5)),),
    ),
    Graph("expand_of_batch", "s = Constant<value_ints = [1,4,5]>() y = Expand(x, s)", inputs=(("x", ("N", 1, 5)),)),
    Graph(
        "expand_of_batch_by_rank", "s = Constant<value_ints = [2,1,4]>() y = Expand(x, s)", inputs=(("x", ("N", 4)),)
    ),
    Graph("gather_from_the_end", "i = Constant<value_ints = [-1,0,-2]>() y = Gather<axis = -1>(x, i)"),
    Graph(
        "pad_other_than_zero",
        "p = Constant<value_ints = [0,0,1,2,0,0,3,0]>() v = Constant<value_float = 2.5>() c = Conv(x, w) y = Pad(c, p, v)",
        (("w", (8, 8, 3, 3)),),
    ),
    Graph(
        "pad_reflected",
        'p = Constant<value_ints = [0,0,1,2,0,0,3,0]>() c = Conv(x, w) y = Pad<mode = "reflect">(c, p)',
        (("w", (8, 8, 3, 3)),),
    ),
    Graph(
        "concat_constants", "q = Conv(x, w) y = Concat<axis = -1>(c, q, c)", (("c", (1, 8, 7, 3)), ("w", (8, 8, 3, 3)))
    ),
    Graph("constant_minus", "q = Conv(x, w) y = Sub(c, q)", (("c", (8, 1, 1)), ("w", (8, 8, 3, 3)))),
    Graph("max_of_constant", "q = Conv(x, w) y = Max(c, q, d)", (("c", (8, 1, 1)), ("w", (8, 8, 3, 3)), ("d", (9,)))),
    Graph(
        "where_constant", "q = Conv(x, w) m = Greater(q, c) y = Where(m, c, q)", (("c", (8, 1, 1)), ("w", (8, 8, 3, 3)))
    ),
    Graph("space_to_depth", "y = SpaceToDepth<blocksize = 2>(x)", inputs=(("x", (1, 3, 4, 6)),)),
    Graph("add_rank_5", "y = Add(x, z)", inputs=(("x", (1, 2, 3, 4, 5)), ("z", (1, 2, 1, 4, 1)))),
    Graph("transpose_rank_5", "y = Transpose<perm = [0,3,1,4,2]>(x)", inputs=(("x", (1, 2, 3, 4, 5)),)),
    Graph("gemm_row_bias", "y = Gemm(x, w, b)", (("w", (24, 5)), ("b", (1, 5))), ROWS),
    Graph(
        "conv_transpose_output_padding",
        "c = ConvTranspose<strides = [2,2], pads = [0,0,1,1], output_padding = [1,0]>(x, w, b) y = Relu(c)",
        (("w", (8, 6, 3, 3)), ("b", (6,))),
    ),
    Graph(
        "conv_transpose_output_shape",
        "y = ConvTranspose<strides = [2,2], output_shape = [18,22]>(x, w, b)",
        (("w", (8, 6, 3, 3)), ("b", (6,))),
    ),
)
