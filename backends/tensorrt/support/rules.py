"""Which ONNX ops TensorRT takes, and under what conditions: one entry an op."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from effc.compiler import ir
from effc.compiler.lowering import OpTable, Why

MAX_TOPK = 3840
_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE})
_INTEGERS = frozenset({ir.DataType.INT32, ir.DataType.INT64})


Rule = Callable[[ir.Node, str], Why | None]
"""Takes a node and the library, "trt" or "rtx"."""

TABLE: OpTable[Rule] = OpTable("tensorrt")
_NONE = "TensorRT has no such layer"
TABLE.refuse(_NONE, "AffineGrid", "Bernoulli", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor")
TABLE.refuse(_NONE, "CenterCropPad", "Col2Im", "Compress", "DFT", "Det", "ImageDecoder", "MaxRoiPool", "MaxUnpool")
TABLE.refuse(_NONE, "MelWeightMatrix", "Multinomial", "TfIdfVectorizer", "Unique")
TABLE.refuse("it is for training", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
TABLE.refuse("TensorRT has no strings", "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit")
TABLE.refuse("TensorRT has tensors alone", "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement")
TABLE.refuse("TensorRT has tensors alone", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase")
TABLE.refuse("TensorRT has tensors alone", "SequenceInsert", "SequenceLength", "SequenceMap", "SplitToSequence")
_QDQ = "TensorRT takes quantization as QuantizeLinear and DequantizeLinear alone; give effc the float model"
TABLE.refuse(_QDQ, "ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul")


@TABLE.op("Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh")
@TABLE.op("BlackmanWindow", "Ceil", "Celu", "Concat", "Constant", "ConstantOfShape", "Cos", "Cosh", "CumSum")
@TABLE.op("Div", "Elu", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND")
@TABLE.op("Gelu", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "Greater", "GreaterOrEqual")
@TABLE.op("GroupNormalization", "HammingWindow", "HannWindow", "HardSigmoid", "HardSwish", "Hardmax", "Identity")
@TABLE.op("InstanceNormalization", "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax")
@TABLE.op("LpNormalization", "Max", "Mean", "MeanVarianceNormalization", "Min", "Mish", "Mul", "Neg", "Not", "OneHot")
@TABLE.op("Or", "Pad", "Pow", "Reciprocal", "Reshape", "ReverseSequence", "Round", "Scan", "Selu", "Shape")
@TABLE.op("Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice", "Softmax", "Softplus", "Softsign", "Split")
@TABLE.op("Sqrt", "Squeeze", "Sub", "Sum", "Tan", "Tanh", "ThresholdedRelu", "Tile", "Transpose", "Trilu", "Where")
@TABLE.op("Xor")
def always(node: ir.Node, library: str) -> None:
    """Whatever ONNX allows, but for the types that hold for every op."""
    del node, library


@TABLE.op("Einsum", "Gemm", "MatMul", "PRelu")
def products(node: ir.Node, library: str) -> Why | None:
    """Matrix products and slopes are of floats."""
    del library
    ranks = ir.rank(node.inputs[0]), ir.rank(node.inputs[-1])
    if node.op_type == "MatMul" and ranks[0] == 1 and ranks[1] > 2:
        return Why(f"a vector times a tensor of {ranks[1]} dims", "unsqueeze the vector first")
    return _needs(node, _FLOATS)


@TABLE.op("GridSample")
def grid_sample(node: ir.Node, library: str) -> Why | None:
    """Image and grid are floats of one type."""
    del library
    image, grid = node.inputs[0], node.inputs[1]
    if image is not None and grid is not None and image.dtype != grid.dtype:
        return Why("its image and its grid are of different types", "cast one to the other's")
    return _needs(node, _FLOATS)


@TABLE.op("Relu")
def relu(node: ir.Node, library: str) -> Why | None:
    """Any type but int32."""
    del library
    return _lacks(node, ir.DataType.INT32)


@TABLE.op("Clip")
def clip(node: ir.Node, library: str) -> Why | None:
    """Bounds are for floats, int32 and int64."""
    del library
    return _needs(node, _FLOATS | _INTEGERS) if len(node.inputs) > 1 else None


@TABLE.op("DepthToSpace", "SpaceToDepth")
def depth_to_space(node: ir.Node, library: str) -> Why | None:
    """Numbers alone."""
    del library
    return _lacks(node, ir.DataType.BOOL)


@TABLE.op("Mod")
def mod(node: ir.Node, library: str) -> Why | None:
    """The integer remainder is of int32 and int64."""
    del library
    return None if ir.attr_int(node, "fmod", 0) else _needs(node, _INTEGERS)


@TABLE.op("ReduceL1", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare")
def reduce(node: ir.Node, library: str) -> Why | None:
    """Axes are constant."""
    del library
    return _lacks(node, ir.DataType.BOOL) or _constant(node, 1, "axes")


@TABLE.op("ReduceL2", "ReduceLogSum", "ReduceLogSumExp")
def reduce_floats(node: ir.Node, library: str) -> Why | None:
    """Roots and logarithms are of floats."""
    del library
    return _needs(node, _FLOATS) or _constant(node, 1, "axes")


@TABLE.op("Unsqueeze")
def unsqueeze(node: ir.Node, library: str) -> Why | None:
    """Axes are constant."""
    del library
    return _constant(node, 1, "axes")


@TABLE.op("TopK")
def top_k(node: ir.Node, library: str) -> Why | None:
    """At most 3840 values."""
    del library
    count = ir.const(node.inputs[1])
    if count is None or int(count.ravel()[0]) <= MAX_TOPK:
        return None
    return Why(f"it keeps {int(count.ravel()[0])} values, TensorRT at most {MAX_TOPK}")


@TABLE.op("EyeLike")
def eye_like(node: ir.Node, library: str) -> Why | None:
    """The shape is fixed."""
    del library
    return None if ir.static_shape(node.inputs[0]) else Why("its input has open dims", "fix them with --shape")


@TABLE.op("LRN")
def lrn(node: ir.Node, library: str) -> Why | None:
    """Images alone."""
    del library
    dims = ir.rank(node.inputs[0])
    return Why(f"its input has {dims} dims, TensorRT needs 4 or more") if 0 < dims < 4 else None


@TABLE.op("Range")
def range_(node: ir.Node, library: str) -> Why | None:
    """Open bounds are integers."""
    del library
    start = node.inputs[0]
    if start is None or start.dtype in _INTEGERS or all(ir.const(value) is not None for value in node.inputs):
        return None
    return Why("its bounds are floats known at run time alone", "make them constant or integers")


@TABLE.op("Cast", "CastLike")
def cast(node: ir.Node, library: str) -> Why | None:
    """uint8 comes out of the graph or not at all; int4 and float8 come from QuantizeLinear alone."""
    del library
    result = node.outputs[0]
    if result.dtype == ir.DataType.UINT8 and not result.is_graph_output():
        return Why("it makes uint8 inside the graph", "uint8 is for inputs and outputs alone; cast to int32")
    if result.dtype in (ir.DataType.FLOAT8E4M3FN, ir.DataType.INT4):
        return Why(f"it makes {result.dtype.name.lower()}", "QuantizeLinear does")
    return None


@TABLE.op("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
def random(node: ir.Node, library: str) -> Why | None:
    """float32 and narrower."""
    del library
    wide = ir.attr_int(node, "dtype", 1) == ir.DataType.DOUBLE
    return Why("it draws float64", "draw float32 and cast") if wide else None


@TABLE.op("Dropout")
def dropout(node: ir.Node, library: str) -> Why | None:
    """Inference alone."""
    del library
    flag = ir.const(node.inputs[2]) if len(node.inputs) > 2 else np.False_
    return Why("it is in training mode", "export the model for inference") if flag is None or flag.any() else None


@TABLE.op("BatchNormalization")
def batch_normalization(node: ir.Node, library: str) -> Why | None:
    """Inference alone."""
    del library
    training = ir.attr_int(node, "training_mode", 0)
    return Why("it is in training mode", "export the model for inference") if training else None


@TABLE.op("LayerNormalization")
def layer_normalization(node: ir.Node, library: str) -> Why | None:
    """The normalized tensor alone."""
    del library
    return Why("its mean and deviation are outputs", "compute them apart") if _used(node) > 1 else None


@TABLE.op("NonMaxSuppression", "NonZero", "RoiAlign", "DeformConv")
def plugins(node: ir.Node, library: str) -> Why | None:
    """TensorRT has them as plugins or layers, TensorRT-RTX has neither."""
    del node
    return Why("TensorRT-RTX has no such layer", "cut it off the model, or build trt-*") if library == "rtx" else None


@TABLE.op("ScatterElements", "Scatter")
def scatter_elements(node: ir.Node, library: str) -> Why | None:
    """Reductions are a plugin's."""
    mode = ir.attr_str(node, "reduction", "none")
    if mode == "none" or library != "rtx":
        return None
    return Why(f"TensorRT-RTX does not scatter with reduction {mode!r}", "build trt-*")


@TABLE.op("ScatterND")
def scatter_nd(node: ir.Node, library: str) -> Why | None:
    """No reduction."""
    del library
    mode = ir.attr_str(node, "reduction", "none")
    return None if mode == "none" else Why(f"it scatters with reduction {mode!r}, TensorRT without alone")


@TABLE.op("If")
def if_(node: ir.Node, library: str) -> Why | None:
    """Both branches' outputs have the same number of dims, unless the condition is known when the engine is built."""
    del library
    if not _runtime(node.inputs[0]):
        return None
    then, other = (node.attributes[name].as_graph().outputs for name in ("then_branch", "else_branch"))
    for one, two in zip(then, other, strict=False):
        if one.shape is not None and two.shape is not None and len(one.shape) != len(two.shape):
            return Why(f"its branches give {one.name!r} with {len(one.shape)} dims and {len(two.shape)}")
    return None


@TABLE.op("STFT")
def stft(node: ir.Node, library: str) -> Why | None:
    """Step and window are constant."""
    del library
    return _constant(node, 1, "step") or _constant(node, 2, "window")


@TABLE.op("Loop")
def loop(node: ir.Node, library: str) -> Why | None:
    """What is gathered over the turns has a length known before the first."""
    del library
    carried = max(len(node.inputs) - 2, 0)
    condition = node.inputs[1] if len(node.inputs) > 1 else None
    if len(node.outputs) > carried and condition is not None and ir.const(condition) is None:
        return Why("it gathers outputs while a condition holds", "give it a fixed trip count")
    return None


def _needs(node: ir.Node, kinds: frozenset[ir.DataType]) -> Why | None:
    value = node.inputs[0]
    if value is None or value.dtype is None or value.dtype in kinds:
        return None
    wanted = "int32" if kinds == _INTEGERS else "float"
    return Why(
        f"TensorRT does not have it for {value.dtype.name.lower()}", f"cast to {wanted} before it and back after"
    )


def _lacks(node: ir.Node, *kinds: ir.DataType) -> Why | None:
    value = node.inputs[0]
    if value is None or value.dtype not in kinds:
        return None
    return Why(f"TensorRT does not have it for {value.dtype.name.lower()}", "cast before it and back after")


def _constant(node: ir.Node, position: int, what: str) -> Why | None:
    value = node.inputs[position] if len(node.inputs) > position else None
    return None if value is None or ir.const(value) is not None else Why(f"its {what} must be constant")


def _runtime(value: ir.Value | None) -> bool:
    """Whether a value follows from the graph's inputs, and not from constants alone."""
    if value is None or ir.const(value) is not None:
        return False
    source = value.producer()
    return source is None or any(map(_runtime, source.inputs))


def _used(node: ir.Node) -> int:
    """Outputs that have a name, up to the last one."""
    return max((number for number, value in enumerate(node.outputs, 1) if value.name), default=0)
