"""An engine's inputs and outputs as plain data, and how arrays become the bytes that it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from effc.backends.tensorrt.api import ICudaEngine, Trt
from effc.core.errors import BackendFailed

Array = NDArray[np.generic]
Shapes = Mapping[str, tuple[int, ...]]
STAGE = "run an engine"

DTYPES: Mapping[str, np.dtype[Any]] = {
    "FLOAT": np.dtype(np.float32),
    "HALF": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "FP8": np.dtype(ml_dtypes.float8_e4m3fn),
    "INT8": np.dtype(np.int8),
    "UINT8": np.dtype(np.uint8),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "BOOL": np.dtype(np.bool_),
}
"""TensorRT's types with whole bytes. Those that pack two elements into one are no engine's input or output here."""


@dataclass(frozen=True)
class Tensor:
    """An input or output.

    Attributes:
        host: whether the engine reads or writes it in host memory, as it does what shapes depend on.
    """

    name: str
    dtype: np.dtype[Any]
    input: bool
    host: bool = False


def described(trt: Trt, engine: ICudaEngine) -> tuple[Tensor, ...]:
    """All inputs and outputs. Raises BackendFailed for a type without whole bytes."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    return tuple(_tensor(trt, engine, name) for name in names)


def _tensor(trt: Trt, engine: ICudaEngine, name: str) -> Tensor:
    kind = engine.get_tensor_dtype(name).name
    if kind not in DTYPES:
        raise BackendFailed(f"the tensor {name!r} has type {kind}, which NumPy cannot hold", stage=STAGE)
    return Tensor(
        name,
        DTYPES[kind],
        input=engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
        host=engine.get_tensor_location(name) == trt.TensorLocation.HOST,
    )


def taken(tensors: Sequence[Tensor], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The feeds of all inputs, contiguous. Raises BackendFailed for one that is absent or of another type."""
    inputs = {tensor.name: tensor for tensor in tensors if tensor.input}
    for name, tensor in inputs.items():
        if name not in feeds:
            raise BackendFailed(f"nothing is fed to input {name!r}", stage=STAGE)
        if feeds[name].dtype != tensor.dtype:
            what = f"input {name!r} takes {tensor.dtype}, and {feeds[name].dtype} is fed"
            raise BackendFailed(what, stage=STAGE)
    return {name: np.asarray(feeds[name], order="C") for name in inputs}


def size(tensor: Tensor, shape: Sequence[int]) -> int:
    """Bytes of the tensor with that shape; all dims must be known."""
    return math.prod(shape) * tensor.dtype.itemsize


def settled(shape: Sequence[int]) -> bool:
    """Whether all dims are known before the engine runs: what is not is -1."""
    return all(dim >= 0 for dim in shape)


def as_bytes(array: Array) -> NDArray[np.uint8]:
    """The array's memory, which must be contiguous."""
    return array.reshape(-1).view(np.uint8)


def from_bytes(held: NDArray[np.uint8], tensor: Tensor, shape: Sequence[int]) -> Array:
    """A copy of the first bytes as an array."""
    return held[: size(tensor, shape)].copy().view(tensor.dtype).reshape(tuple(shape))


def batch(feeds: Mapping[str, Array]) -> int:
    """Samples of one call: the first dim of the first input that has one."""
    return next((array.shape[0] for array in feeds.values() if array.ndim), 1)
