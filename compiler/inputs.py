"""Dims of a file's inputs: fixed where that is asked, and each open one a symbol that no other dim has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx

from effc.compiler import ir
from effc.core.errors import BadInput

Dims = tuple[int | str, ...]
SYMBOL = re.compile(r"[A-Za-z_][\w.]*")


def fix(graph: onnx.GraphProto, shapes: Mapping[str, Dims], path: Path) -> bool:
    """Write the wanted dims into the inputs; whether a number was replaced by something else."""
    inputs = {v.name: v for v in graph.input}
    replaced = False
    for name, dims in shapes.items():
        where = f"{path}, input {name!r}"
        if name not in inputs:
            raise BadInput("the model has no such input", where=where, hint=f"its inputs: {', '.join(inputs)}")
        tensor = inputs[name].type.tensor_type
        if tensor.HasField("shape") and len(tensor.shape.dim) != len(dims):
            raise BadInput(f"{text(dims)} has {len(dims)} dims, the input {len(tensor.shape.dim)}", where=where)
        if any(d < 1 if isinstance(d, int) else not SYMBOL.fullmatch(d) for d in dims):
            raise BadInput(f"{text(dims)}: dims are positive numbers or names", where=where)
        old = [d.dim_value for d in tensor.shape.dim if d.dim_value > 0]
        replaced |= old != [d for d in dims if isinstance(d, int)][: len(old)]
        inputs[name].type.CopyFrom(onnx.helper.make_tensor_type_proto(tensor.elem_type, list(dims)))
    return replaced


def name_open(graph: onnx.GraphProto, path: Path) -> Mapping[str, str]:
    """Let symbols be plain identifiers, and dims of inputs that are open (-1, "?", unnamed) be `<input>_<axis>`.

    Returns what the file calls those that were given another name, by that name.
    """
    for value in graph.input:
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            where = f"{path}, input {value.name!r}"
            raise BadInput("the model does not say its shape", where=where, hint=f"--shape {value.name}:1x3x224x224")
    taken = {dim.dim_param for dim in _dims(graph)}
    names = {old: _unused(old, taken) for old in sorted(taken) if old not in ("", "?") and not SYMBOL.fullmatch(old)}
    for dim in _dims(graph):
        if dim.dim_param in names:
            dim.dim_param = names[dim.dim_param]
    for value in graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param in ("", "?") and (dim.dim_value < 0 or not dim.HasField("dim_value")):
                dim.dim_param = _unused(f"{value.name}_{axis}", taken)
    return {new: old for old, new in names.items()}


def restore(graph: ir.Graph, names: Mapping[str, str]) -> None:
    """Let dims of inputs and outputs have the file's own names again."""
    for value in (*graph.inputs, *graph.outputs):
        dims = ir.shape(value) or ()
        if names.keys() & set(dims):
            value.shape = ir.Shape([None if d == "?" else names.get(str(d), d) for d in dims])


def text(dims: Dims) -> str:
    """As `--shape` takes them."""
    return "x".join(str(d) for d in dims)


def _dims(graph: onnx.GraphProto) -> Iterator[onnx.TensorShapeProto.Dimension]:
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield from value.type.tensor_type.shape.dim


def _unused(name: str, taken: set[str]) -> str:
    """An identifier like the name that is not taken; it is from now on."""
    stem = name if SYMBOL.fullmatch(name) else "_" + re.sub(r"\W", "_", name)
    found, count = stem, 0
    while found in taken:
        count += 1
        found = f"{stem}_{count}"
    taken.add(found)
    return found
