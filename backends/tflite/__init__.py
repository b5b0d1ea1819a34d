"""ONNX to TFLite flatbuffers, without TensorFlow."""
