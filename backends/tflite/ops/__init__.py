"""Op lowerings, a file an op family. Importing this package fills `table.TABLE`."""

from effc.backends.tflite.ops import conv, elementwise, matmul, pool, reduce, shape

__all__ = ["conv", "elementwise", "matmul", "pool", "reduce", "shape"]
