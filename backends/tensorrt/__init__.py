"""TensorRT 10, 11 and TensorRT-RTX: engines from one strongly typed ONNX graph."""
