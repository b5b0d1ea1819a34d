"""Sparse tensors written as dense ones, which is what runtimes make of them, too."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from effc.compiler import protos
from effc.core.errors import BadInput

Indices = npt.NDArray[np.int64]
MOST_BYTES = 1 << 30
"""Of one dense tensor."""


def densify(model: onnx.ModelProto, path: Path) -> None:
    """Let sparse initializers and constants be dense, in place. Raises BadInput where one contradicts itself."""
    for graph in _graphs(model):
        graph.initializer.extend([_dense(sparse, path) for sparse in graph.sparse_initializer])
        del graph.sparse_initializer[:]
    for node in protos.of_model(model):
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("sparse_tensor"):
                tensor = _dense(attribute.sparse_tensor, path)
                attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    yield model.graph
    for node in protos.of_model(model):
        yield from protos.subgraphs(node)


def _dense(sparse: onnx.SparseTensorProto, path: Path) -> onnx.TensorProto:
    """`values` at `indices`, which are linear, or a row of coordinates for each value, in rising order."""
    dims, name = tuple(sparse.dims), sparse.values.name
    values, indices = (numpy_helper.to_array(part) for part in (sparse.values, sparse.indices))
    sound = values.ndim == 1 and indices.dtype == np.int64 and all(d > 0 for d in dims)
    if sound and math.prod(dims) * values.itemsize <= MOST_BYTES:
        places = _linear(indices, dims)
        if places is not None and len(places) == len(values) and (np.diff(places) > 0).all():
            array = np.zeros(math.prod(dims), values.dtype)
            array[places] = values
            return numpy_helper.from_array(array.reshape(dims), name)
    what = f"no such sparse tensor: {len(values)} values at {indices.shape} indices of dims {list(dims)}"
    raise BadInput(what, where=f"{path}, tensor {name!r}", hint=f"a dense one may have {MOST_BYTES >> 20} MiB")


def _linear(indices: Indices, dims: tuple[int, ...]) -> Indices | None:
    """Places in the flattened tensor; None where some lie outside."""
    if indices.ndim == 2 and indices.shape[1] == len(dims):
        return np.ravel_multi_index(tuple(indices.T), dims) if _inside(indices, dims) else None
    return indices if indices.ndim == 1 and _inside(indices, (math.prod(dims),)) else None


def _inside(indices: Indices, ends: tuple[int, ...]) -> bool:
    return bool(((indices >= 0) & (indices < ends)).all())
