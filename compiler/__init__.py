"""ONNX in, simplified typed ONNX out."""

from effc.core.lazy import postpone

postpone("sympy", "onnx_ir._symbolic_shapes")  # onnx_ir computes with symbolic dims by them, and hardly a model asks
