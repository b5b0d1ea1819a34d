"""ONNX in, simplified typed ONNX out."""
