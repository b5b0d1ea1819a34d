"""ONNX ops as kernels: what each takes, how its data may lie, its schedule. Importing a file fills the table."""
