"""What is given up, bit by bit, where a file would grow too large otherwise: what can be inferred, and long names."""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Iterator, Set

import numpy as np
import onnx
import onnx_ir

from effc.compiler import ir, walk, wire


def spared(model: ir.Model, given: Set[str]) -> Iterator[None]:
    """Give up one thing after another, in place, for as long as it is asked for more.

    `given` are the tensors that keep their names.
    """
    for give_up in (forget_made_names, forget_shapes, forget_kernels):
        give_up(model.graph)
        yield
    shorten_names(model.graph, given)
    pack_numbers(model.graph)
    yield
    forget_names(model.graph)
    yield


def forget_made_names(graph: ir.Graph) -> None:
    """Drop names of nodes that are made of their op and first output, as unnamed ones are called here."""
    for node in walk.everywhere(graph):
        if re.fullmatch(rf"\w+_{re.escape(node.outputs[0].name or '')}(_\d+)?|node_\w+_\d+", node.name or ""):
            node.name = ""


def forget_shapes(graph: ir.Graph) -> None:
    """Drop types and shapes of inner tensors, which inference tells."""
    for node in walk.everywhere(graph):
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = value.type = None


def forget_kernels(graph: ir.Graph) -> None:
    """Drop the kernel shapes of convolutions, which their weights tell."""
    for node in graph:
        if node.op_type in ("Conv", "ConvTranspose"):
            node.attributes.pop("kernel_shape", None)


def shorten_names(graph: ir.Graph, given: Set[str]) -> None:
    """Call tensors that are none of the `given` by the shortest names that are free, the most used ones first."""
    graphs = (graph, *walk.inner_graphs(graph))
    values = [value for each in graphs for value in _values(each)]
    kept = {*graph.inputs, *graph.outputs}
    made = [v for v in values if v.name and v.name not in given and v not in kept]
    taken = {*given, *(v.name for v in values)}
    free = (name for name in _names() if name not in taken)
    for value in sorted(made, key=lambda value: -len(value.uses())):
        name = next(free)
        if len(name) < len(value.name or ""):
            value.name = name


def pack_numbers(graph: ir.Graph) -> None:
    """Give each number of small int64 weights as many bytes as it needs, where all together are fewer then."""
    for each in (graph, *walk.inner_graphs(graph)):
        for value in each.initializers.values():
            array = ir.const(value)
            if array is not None and array.dtype == np.int64 and array.nbytes <= wire.LARGE:
                value.const_value = onnx_ir.serde.TensorProtoTensor(_packed(value.name or "", array))


def forget_names(graph: ir.Graph) -> None:
    """Drop the names of nodes: nothing refers to them."""
    for node in walk.everywhere(graph):
        node.name = ""


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _names() -> Iterator[str]:
    """a, b, ... z, aa, ab, ..."""
    for length in itertools.count(1):
        yield from map("".join, itertools.product(string.ascii_lowercase, repeat=length))


def _packed(name: str, array: np.ndarray) -> onnx.TensorProto:
    whole = onnx.TensorProto(name=name, data_type=onnx.TensorProto.INT64, dims=array.shape)
    packed = onnx.TensorProto()
    packed.CopyFrom(whole)
    whole.raw_data = array.tobytes()
    packed.int64_data.extend(array.reshape(-1).tolist())
    return min(whole, packed, key=onnx.TensorProto.ByteSize)
