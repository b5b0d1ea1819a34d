"""Small typed models, as TensorRT takes them: narrow by casts, or with Q/DQ."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
from numpy.typing import NDArray

DTYPES = {
    "float32": (1, np.float32),
    "float16": (10, np.float16),
    "bfloat16": (16, ml_dtypes.bfloat16),
    "int8": (3, np.int8),
    "float8": (17, ml_dtypes.float8_e4m3fn),
}
POOLED = "[conv] c = Conv<pads=[1,1,1,1]>({0}, {1}) [relu] r = Relu(c) [pool] p = GlobalAveragePool(r)"
PRODUCT = "[flat] f = Flatten(p) [product] m = MatMul(f, v)"


def model(text: str, **weights: NDArray[np.generic]) -> onnx.ModelProto:
    """A model over `x` of the text form's body or, with its own signature, graph; opset 21."""
    graph = text if text.startswith("g (") else f"g (float[N,3,8,8] x) => (float[N,?,?,?] y) {{ {text} }}"
    made = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21, "own": 1]> {graph}')
    made.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    return made


def narrow(dtype: str, product: bool = False) -> onnx.ModelProto:
    """A convolution between casts, and with `product` a matrix product behind it."""
    number, kind = DTYPES[dtype]
    draw = np.random.default_rng(0)
    weights = {"w": draw.standard_normal((8, 3, 3, 3)), "v": draw.standard_normal((8, 10))}
    given_ = {name: weights[name].astype(kind) for name in ("w", "v")[: 1 + product]}
    body, last = POOLED.format("h", "w") + (PRODUCT if product else ""), "m" if product else "p"
    out = "[N,10]" if product else "[N,8,1,1]"
    text = f"[in] h = Cast<to={number}>(x) {body} [out] y = Cast<to=1>({last})"
    return model(f"g (float[N,3,8,8] x) => (float{out} y) {{ {text} }}", **given_)


def quantized(dtype: str) -> onnx.ModelProto:
    """A convolution between Q/DQ pairs."""
    pairs = " ".join(
        f"[{n}q] {n}q = QuantizeLinear({n}, s, z) [{n}d] {n}d = DequantizeLinear({n}q, s, z)" for n in ("x", "w")
    )
    weights = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
    zero = np.zeros((), DTYPES[dtype][1])
    return model(f"{pairs} {POOLED.format('xd', 'wd')} y = Identity(p)", w=weights, s=np.float32(0.03), z=zero)
