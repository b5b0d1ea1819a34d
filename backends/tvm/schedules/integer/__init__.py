"""Kernels that multiply bytes, sum in int32 and go on in float32 registers."""
