"""From typed ONNX to an engine."""
