"""Which nodes TensorRT takes, as a table that needs no TensorRT."""
