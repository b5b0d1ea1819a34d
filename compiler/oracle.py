"""The oracle: a model's outputs in ONNX Runtime with its optimizations off."""
