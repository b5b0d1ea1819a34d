"""Anchors whose kernels read integers. Importing this fills their table."""

from effc.backends.tvm.ops.integer import conv, dense, pool

__all__ = ["conv", "dense", "pool"]
