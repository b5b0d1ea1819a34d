"""ONNX Runtime: the baseline that everybody has, in float and in int8 with Q/DQ."""
