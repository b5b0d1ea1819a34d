"""A seeded collection of malformed model files, by kind: bytes, tensors, references, names, functions and graphs.

Each is surely wrong: where bits are flipped it is in keys of the wire format, never in a weight.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import malformed_graphs
import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, TensorProto, helper

from effc.compiler import wire

SOUND = (Path(__file__).parent / "fixtures" / "mnist_minimobile.onnx").read_bytes()
FLOATS = 600
"""Elements of the weight that is spoilt: large enough to be left out where shapes are inferred."""
Edit = Callable[[ModelProto], object]


class Bad(NamedTuple):
    """A file to be made in a folder of its own."""

    kind: str
    name: str
    make: Callable[[Path], Path]


def everything() -> Iterator[Bad]:
    """All of them, in a fixed order."""
    yield from (_data("cut", f"{seed}", _cut(seed)) for seed in range(15))
    yield from (_data("flipped", f"{seed}", _flipped(seed)) for seed in range(15))
    yield from (_data("foreign", name, data) for name, data in _foreign().items())
    yield from (_data("nested", name, data) for name, data in _nested().items())
    for kind, edits in (("tensors", TENSORS), ("header", HEADERS), ("names", NAMES), ("functions", FUNCTIONS)):
        yield from (Bad(kind, name, _edited(edit)) for name, edit in edits.items())
    yield from (Bad("external", name, make) for name, make in EXTERNAL.items())
    for kind, rows in malformed_graphs.GRAPHS.items():
        yield from (Bad(kind, name, _text(text)) for name, text in rows.items())


# bytes


def _data(kind: str, name: str, data: bytes) -> Bad:
    return Bad(kind, name, lambda folder: _written(folder, data))


def _written(folder: Path, data: bytes) -> Path:
    path = folder / "bad.onnx"
    path.write_bytes(data)
    return path


def _cut(seed: int) -> bytes:
    return SOUND[: int(np.random.default_rng(seed).integers(1, len(SOUND) - 8))]


def _flipped(seed: int) -> bytes:
    """Wire type 7 in the key of one field of the graph: there is no such type."""
    data = bytearray(SOUND)
    view = memoryview(SOUND)
    graph = next(f for f in wire.fields(view, 0, len(view)) if f.number == 7)
    starts = [f.start for f in wire.fields(view, graph.body, graph.end)]
    data[starts[int(np.random.default_rng(seed).integers(0, len(starts)))]] |= 7
    return bytes(data)


def _foreign() -> dict[str, bytes]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("model.onnx", SOUND[:1000])
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(64)
    noise = np.random.default_rng(0).bytes
    return {
        "nothing": b"",
        "zip": archive.getvalue(),
        "gzip": gzip.compress(SOUND, 1),
        "png": png,
        "html": b"<!DOCTYPE html><html><title>404: Not Found</title></html>",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n",
        "pickle": pickle.dumps({"weights": [1.0] * 100}),
        "safetensors": (64).to_bytes(8, "little") + b'{"w":{"dtype":"F32"}}'.ljust(64),
        "text form": f"{malformed_graphs.HEAD} {malformed_graphs.unary('y = Relu(x)')}".encode(),
        "JSON form": b'{"irVersion": "10", "graph": {"node": [{"opType": "Relu"}]}}',
        "UTF-16": "not a model".encode("utf-16"),
        "zeros": bytes(100_000),
        "ones": b"\xff" * 100_000,
        "one byte": b"\x08",
        "a tensor": helper.make_tensor("t", 1, [1], [1.0]).SerializeToString(),
        "a graph": onnx.load_from_string(SOUND).graph.SerializeToString(),
        **{f"noise of {size}": noise(size) for size in (7, 1000, 1_000_000)},
    }


def _nested() -> dict[str, bytes]:
    """Messages within messages, 10 000 deep, which protobuf can only write by hand."""
    node, graph, types = b"", b"", b""
    for _ in range(10_000):
        graph = wire.key(onnx.GraphProto, "node", len(node)) + node
        held = wire.key(AttributeProto, "g", len(graph)) + graph
        node = wire.key(onnx.NodeProto, "attribute", len(held)) + held
        inner = wire.key(onnx.TypeProto.Sequence, "elem_type", len(types)) + types
        types = wire.key(onnx.TypeProto, "sequence_type", len(inner)) + inner
    value = wire.key(onnx.ValueInfoProto, "type", len(types)) + types
    listed = wire.key(onnx.GraphProto, "input", len(value)) + value
    whole = [wire.key(ModelProto, "graph", len(each)) + each for each in (graph, listed)]
    return {"subgraphs": SOUND + whole[0], "types": SOUND + whole[1]}


# edits of a sound model


def sound() -> ModelProto:
    """`y = Relu(x + w) + Constant`, with a weight that is large enough to be left where it lies."""
    nodes = [
        helper.make_node("Add", ["x", "w"], ["a"], "add"),
        helper.make_node("Constant", [], ["c"], "constant", value=helper.make_tensor("held", 1, [1], [2.0])),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        helper.make_node("Mul", ["r", "c"], ["y"], "mul"),
    ]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", FLOATS]) for name in "xy"]
    weight = onnx.numpy_helper.from_array(np.ones(FLOATS, np.float32), "w")
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _edited(edit: Edit) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        model = sound()
        edit(model)
        return _written(folder, model.SerializeToString())

    return make


def _text(text: str) -> Callable[[Path], Path]:
    return lambda folder: _written(folder, malformed_graphs.parsed(text).SerializeToString())


def _weight(**fields: object) -> Edit:
    """Replace the weight by one of these fields alone."""
    return lambda m: m.graph.initializer[0].CopyFrom(TensorProto(name="w", **fields))  # type: ignore[arg-type]


def _set(path: str, value: object) -> Edit:
    """Assign to a field by its path."""

    def edit(model: ModelProto) -> None:
        target: object = model
        *steps, last = path.split(".")
        for step in steps:
            target = target[int(step)] if step.isdigit() else getattr(target, step)  # type: ignore[index]
        setattr(target, last, value)

    return edit


def _sparse(indices: list[int], shape: list[int], dims: list[int]) -> Edit:
    def edit(model: ModelProto) -> None:
        values = helper.make_tensor("w", 1, [2], [1.0, 2.0])
        listed = helper.make_tensor("i", TensorProto.INT64, shape, indices)
        del model.graph.initializer[:]
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, listed, dims))

    return edit


TENSORS: dict[str, Edit] = {
    "short": _weight(data_type=1, dims=[FLOATS], raw_data=bytes(4 * FLOATS - 1)),
    "long": _weight(data_type=1, dims=[FLOATS], raw_data=bytes(4 * FLOATS + 4)),
    "none": _weight(data_type=1, dims=[FLOATS]),
    "few floats": _weight(data_type=1, dims=[FLOATS], float_data=[1.0] * 5),
    "many floats": _weight(data_type=1, dims=[1], float_data=[1.0] * FLOATS),
    "other field": _weight(data_type=1, dims=[FLOATS], int64_data=[1] * FLOATS),
    "a million huge dims": _weight(data_type=1, dims=[1 << 62] * 1_000_000, raw_data=bytes(8)),
    "text as raw data": _weight(data_type=8, dims=[4], raw_data=b"abcd"),
    "a billion texts": _weight(data_type=8, dims=[1_000_000_000], string_data=[b"one"]),
    "no texts": _weight(data_type=8, dims=[1 << 40]),
    "half a byte": _weight(data_type=TensorProto.INT4, dims=[FLOATS], raw_data=bytes(FLOATS)),
    "no element type": _weight(data_type=0, dims=[FLOATS], raw_data=bytes(4 * FLOATS)),
    "element type 99": _weight(data_type=99, dims=[FLOATS], raw_data=bytes(4 * FLOATS)),
    "element type -1": _weight(data_type=-1, dims=[FLOATS], raw_data=bytes(4 * FLOATS)),
    "negative dim": _weight(data_type=1, dims=[-FLOATS], raw_data=bytes(4 * FLOATS)),
    "two negative dims": _weight(data_type=1, dims=[-FLOATS, -1], raw_data=bytes(4 * FLOATS)),
    "huge dims": _weight(data_type=1, dims=[1 << 40, 1 << 40], raw_data=bytes(64)),
    "dims that wrap to 0": _weight(data_type=1, dims=[1 << 32, 1 << 32]),
    "dims that wrap to 16": _weight(data_type=1, dims=[(1 << 62) + 4], raw_data=bytes(16)),
    "huge with a zero": _weight(data_type=1, dims=[1 << 62, 1 << 62, 0], raw_data=bytes(4)),
    "least int64": _weight(data_type=1, dims=[-(1 << 63)], raw_data=bytes(8)),
    "a million dims": _weight(data_type=1, dims=[1] * 1_000_000, raw_data=bytes(8)),
    "constant short": lambda m: m.graph.node[1].attribute[0].t.dims.append(7),
    "constant of type 99": _set("graph.node.1.attribute.0.t.data_type", 99),
    "constant negative": lambda m: m.graph.node[1].attribute[0].t.dims.__setitem__(0, -1),
    "sparse beyond": _sparse([0, FLOATS], [2], [FLOATS]),
    "sparse below": _sparse([-1, 3], [2], [FLOATS]),
    "sparse out of order": _sparse([5, 3], [2], [FLOATS]),
    "sparse of few indices": _sparse([0], [1], [FLOATS]),
    "sparse of three ranks": _sparse([0, 0, 0, 1, 1, 1], [2, 3], [FLOATS]),
    "sparse of huge dims": _sparse([0, 1], [2], [1 << 40, 1 << 40]),
    "sparse of negative dims": _sparse([0, 1], [2], [-FLOATS]),
}  # fmt: skip


def _opsets(*versions: tuple[str, int]) -> Edit:
    def edit(model: ModelProto) -> None:
        del model.opset_import[:]
        model.opset_import.extend(helper.make_opsetid(*each) for each in versions)

    return edit


HEADERS: dict[str, Edit] = {
    "no opset": _opsets(),
    "opset 0": _opsets(("", 0)),
    "opset -1": _opsets(("", -1)),
    "opset 999": _opsets(("", 999)),
    "opset of 63 bits": _opsets(("", (1 << 63) - 1)),
    "opset of another domain": _opsets(("ai.onnx.ml", 3)),
    "two opsets": _opsets(("", 21), ("ai.onnx", 7)),
    "IR version 0": _set("ir_version", 0),
    "IR version -1": _set("ir_version", -1),
    "IR version 999": _set("ir_version", 999),
    "no graph": lambda m: m.ClearField("graph"),
    "no outputs": lambda m: m.graph.ClearField("output"),
    "input of no type": lambda m: m.graph.input[0].ClearField("type"),
    "input of no shape": lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"),
    "input of type 77": _set("graph.input.0.type.tensor_type.elem_type", 77),
    "input of no element type": _set("graph.input.0.type.tensor_type.elem_type", 0),
    "output of type 77": _set("graph.output.0.type.tensor_type.elem_type", 77),
    "output of another rank": lambda m: m.graph.output[0].type.tensor_type.shape.dim.add(dim_value=3),
    "sparse input": lambda m: m.graph.input[0].type.sparse_tensor_type.SetInParent(),
    "optional input": lambda m: m.graph.input[0].type.optional_type.SetInParent(),
    "input of no name": _set("graph.input.0.name", ""),
    "huge claim": lambda m: m.graph.input[0].type.tensor_type.shape.dim[1].__setattr__("dim_value", 1 << 62),
}

LONG = "n" * 1_000_000
NAMES: dict[str, Edit] = {
    "long and undefined": lambda m: m.graph.node[2].input.__setitem__(0, LONG),
    "long op": _set("graph.node.2.op_type", LONG),
    "long domain": _set("graph.node.2.domain", LONG),
    "long attribute": lambda m: m.graph.node[2].attribute.append(helper.make_attribute(LONG, 1)),
    "long output": _set("graph.output.0.name", LONG),
    "no op": _set("graph.node.2.op_type", ""),
    "weight without a name": _set("graph.initializer.0.name", ""),
    "zero byte": _set("graph.node.2.op_type", "Re\0lu"),
    "attribute of two kinds": lambda m: m.graph.node[2].attribute.append(AttributeProto(name="k", type=1, ints=[1])),
    "attribute without a kind": lambda m: m.graph.node[2].attribute.append(AttributeProto(name="axis")),
    "attribute of kind 99": lambda m: m.graph.node[2].attribute.append(
        AttributeProto.FromString(AttributeProto(name="k").SerializeToString() + b"\xa0\x01\x63")
    ),
    "attribute twice": lambda m: m.graph.node[1].attribute.append(m.graph.node[1].attribute[0]),
    "reference to nothing": lambda m: m.graph.node[2].attribute.append(
        AttributeProto(name="alpha", type=1, ref_attr_name="alpha")
    ),
}


def _functions(*calls: tuple[str, str], inside_if: bool = False) -> Edit:
    """Functions of one call each, the first of them called by the graph."""

    def edit(model: ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid("own", 1))
        imports = list(model.opset_import)
        for name, callee in calls:
            body = [helper.make_node(callee, ["u"], ["v"], domain="own" if callee[0] == "f" else "")]
            if inside_if:
                branch = helper.make_graph(body, "b", [], [helper.make_tensor_value_info("v", 1, None)])
                flag = helper.make_node("Constant", [], ["k"], value=helper.make_tensor("", 9, [], [True]))
                choice = helper.make_node("If", ["k"], ["o"], then_branch=branch, else_branch=branch)
                model.functions.append(helper.make_function("own", name, ["u"], ["o"], [flag, choice], imports))
            else:
                model.functions.append(helper.make_function("own", name, ["u"], ["v"], body, imports))
        model.graph.node[2].op_type, model.graph.node[2].domain = calls[0][0], "own"

    return edit


def _doubling(depth: int) -> Edit:
    """Each function calls the next one twice: inlined they are 2^depth nodes."""

    def edit(model: ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid("own", 1))
        imports = list(model.opset_import)
        for level in range(depth):
            last = level == depth - 1
            op, domain = ("Relu", "") if last else (f"f{level + 1}", "own")
            body = [helper.make_node(op, [a], [b], domain=domain) for a, b in (("u", "v"), ("v", "w"))]
            model.functions.append(helper.make_function("own", f"f{level}", ["u"], ["w"], body, imports))
        model.graph.node[2].op_type, model.graph.node[2].domain = "f0", "own"

    return edit


FUNCTIONS: dict[str, Edit] = {
    "of itself": _functions(("f", "f")),
    "of each other": _functions(("f", "fg"), ("fg", "f")),
    "of three": _functions(("f", "fg"), ("fg", "fh"), ("fh", "f")),
    "of itself, inside If": _functions(("f", "f"), inside_if=True),
    "of each other, inside If": _functions(("f", "fg"), ("fg", "f"), inside_if=True),
    "of none": _functions(("f", "gone")),
    "of an unknown one": _functions(("f", "fgone")),
    "doubled 40 times": _doubling(40),
}


# external data


def _outside(location: str | None, **more: object) -> Callable[[Path], Path]:
    """The weight lies in another file, of 4 * FLOATS bytes."""

    def make(folder: Path) -> Path:
        (folder / "weights.bin").write_bytes(bytes(4 * FLOATS))
        (folder / "folder").mkdir()
        os.mkfifo(folder / "pipe")
        (folder / "link").symlink_to("/etc/passwd")
        (folder / "up").symlink_to("..")
        (folder / "round").symlink_to("round")
        model = sound()
        _point(model.graph.initializer[0], {"location": location, **more})
        return _written(folder, model.SerializeToString())

    return make


def _point(tensor: TensorProto, entries: dict[str, object]) -> None:
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))


def _constant_outside(folder: Path) -> Path:
    model = sound()
    _point(model.graph.node[1].attribute[0].t, {"location": "../secret"})
    return _written(folder, model.SerializeToString())


def _missing_beside(folder: Path) -> Path:
    path = _outside("weights.bin")(folder)
    (folder / "weights.bin").unlink()
    return path


EXTERNAL: dict[str, Callable[[Path], Path]] = {
    "above": _outside("../../../../../../etc/passwd"),
    "above and back": _outside("folder/../../x/weights.bin"),
    "absolute": _outside("/etc/passwd"),
    "device": _outside("/dev/zero"),
    "linked": _outside("link"),
    "linked folder": _outside("up/weights.bin"),
    "linked to itself": _outside("round"),
    "missing": _missing_beside,
    "no location": _outside(None),
    "empty location": _outside(""),
    "a folder": _outside("folder"),
    "this folder": _outside("."),
    "a pipe": _outside("pipe"),
    "zero byte": _outside("weights\0.bin"),
    "long name": _outside("n" * 100_000),
    "backslashes": _outside("..\\weights.bin"),
    "beyond the end": _outside("weights.bin", offset=1 << 40, length=4 * FLOATS),
    "partly beyond": _outside("weights.bin", offset=4, length=4 * FLOATS),
    "negative offset": _outside("weights.bin", offset=-4),
    "negative length": _outside("weights.bin", length=-1),
    "offset of text": _outside("weights.bin", offset="four"),
    "offset of 10^5000": _outside("weights.bin", offset="9" * 5000),
    "short": _outside("weights.bin", length=4 * FLOATS - 4),
    "the model itself": _outside("bad.onnx"),
    "in a node": _constant_outside,
}
