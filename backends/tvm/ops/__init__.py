"""ONNX ops as kernels: what each takes, how its data may lie, and its schedule. Importing a file here fills the table."""
