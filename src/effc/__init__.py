"""effc compiles one ONNX model for many deployment targets and proves each artifact."""

__version__ = "0.1.0"
