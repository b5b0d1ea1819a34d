"""What TVM's ONNX importer takes, and what of it we refuse: a table that needs no TVM, tested against TVM's own."""

from __future__ import annotations



IMPORTED = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift BitwiseAnd
    BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Clip Compress Concat Constant ConstantOfShape Conv ConvTranspose
    Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand
    EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
    GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf
    IsNaN LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpPool MatMul MatMulInteger Max MaxPool
    MaxRoiPool MaxUnpool Mean MeanVarianceNormalization Min Mish Mod Mul Neg NonMaxSuppression NonZero Not Or PRelu Pad
    Pow QuantizeLinear RMSNormalization Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize RoiAlign Round ScatterElements
    ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt
    Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Where Xor
    """.split()
)
"""Ops of opset 21 that the importer has and that we do not refuse as a whole."""
WRONG = {
    "AffineGrid": "TVM's importer takes constant sizes alone",
    "Attention": "TVM's importer takes another operator of this name",
    "OneHot": "TVM's importer fails on it",
    "Optional": "optional values are not tensors",
    "OptionalGetElement": "optional values are not tensors",
    "OptionalHasElement": "optional values are not tensors",
    **dict.fromkeys(
        "ConcatFromSequence SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength "
        "SplitToSequence".split(),
        "sequences are not tensors",
    ),
}
"""Ops that the importer has and that we refuse, with the reason."""
FOREIGN = frozenset(
    "AllClassNMS BiasGelu EmbedLayerNormalization FastGelu MatMulInteger16 Scatter SkipLayerNormalization Upsample"
    .split()
)
"""Names that the importer has and that opset 21 has not."""

