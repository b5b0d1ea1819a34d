"""What TVM's ONNX importer takes, and what of it we refuse: a table that needs no TVM, tested against TVM's own."""

from __future__ import annotations

_IMPORTED = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift BitwiseAnd
BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos
Cosh CumSum DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike
Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf
IsNaN LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpPool MatMul MatMulInteger Max MaxPool
Mean MeanVarianceNormalization Min Mish Mod Mul Neg Not Or PRelu Pad Pow QuantizeLinear RMSNormalization Range
Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare Relu Reshape Resize RoiAlign Round ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin
Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile
Transpose Trilu Unsqueeze Where Xor
"""
_SEQUENCES = """
ConcatFromSequence SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength
SplitToSequence
"""
_OPTIONALS = "Optional OptionalGetElement OptionalHasElement"
_SELECTIONS = "Compress NonMaxSuppression NonZero Unique"
_FOREIGN = """
AllClassNMS BiasGelu EmbedLayerNormalization FastGelu MatMulInteger16 Scatter SkipLayerNormalization Upsample
"""
IMPORTED = frozenset(_IMPORTED.split())
"""Ops of opset 21 that the importer has and that we do not refuse as a whole."""
_SCHEDULED = """
Abs Add And ArgMax ArgMin AveragePool Cast Ceil Clip Concat Conv ConvTranspose Cos DequantizeLinear
Div Dropout Elu Equal Erf Exp Expand Flatten Floor Gather Gelu Gemm GlobalAveragePool GlobalMaxPool Greater
GreaterOrEqual HardSigmoid HardSwish Identity LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max
MaxPool Min Mish Mul Neg Not Or PRelu Pad Pow QuantizeLinear Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceMax
ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round Selu Sigmoid Sign Sin Slice Softmax
Softplus Softsign Split Sqrt Squeeze Sub Tanh Transpose Unsqueeze Where Xor
"""
SCHEDULED = frozenset(_SCHEDULED.split())
"""Ops with schedules of ours for some or all of their forms, or without any computation: views."""
FIXED = frozenset({"Constant", "ConstantOfShape", "Shape", "Size"})
"""Ops that are constants of a library, or next to nothing."""
FOREIGN = frozenset(_FOREIGN.split())
"""Names that the importer has and that opset 21 has not."""
WRONG = {
    "AffineGrid": "TVM's importer takes constant sizes alone",
    "Attention": "TVM's importer takes another operator of this name",
    "MaxRoiPool": "TVM rounds its regions otherwise",
    "MaxUnpool": "TVM's importer fails on it",
    "OneHot": "its depth or its values are computed",
    "TopK": "TVM compiles no sorting for CPUs",
    **dict.fromkeys(_SELECTIONS.split(), "the size of what it puts out depends on values"),
    **dict.fromkeys(_OPTIONALS.split(), "optional values are not tensors"),
    **dict.fromkeys(_SEQUENCES.split(), "sequences are not tensors"),
}
"""Ops that the importer has and that we refuse, with the reason."""
