"""A model written at a lower opset, without its weights, in a child."""

from __future__ import annotations

from collections.abc import Mapping, Set

import onnx
import onnx.version_converter

from effc.compiler import frontend, ir, upgrade
from effc.compiler.apart import Apart
from effc.compiler.protos import subgraphs
from effc.compiler.settle import skeleton
from effc.core.errors import BackendFailed, BadInput, EffcError

_WERE = {
    "Clip": ("min", "max"),
    "Dropout": ("ratio", "training_mode"),
    "Pad": ("pads", "value"),
    "Slice": ("starts", "ends", "axes", "steps"),
    "Split": ("split",),
    "Squeeze": ("axes",),
    "TopK": ("k",),
    "Unsqueeze": ("axes",),
}
"""What the inputs behind an op's first were as attributes, in older opsets."""
_SCALARS = frozenset({"k", "max", "min", "ratio", "training_mode", "value"})


class NoOlderForm(EffcError):
    """A model cannot be written at the opset that is wanted."""


def lowered(model: ir.Model, opset: int, child: Apart) -> ir.Model:
    """The model at `opset`; the weights are those of `model`, not copies.

    Raises NoOlderForm when a node has none there.
    """
    if opset == model.opset_imports.get(""):
        return model
    try:
        data: bytes = child.call(f"{__name__}:lower", skeleton(model).SerializeToString(), opset)
    except (BackendFailed, BadInput) as error:
        raise NoOlderForm(f"it has no form at opset {opset}: {error.what}") from error
    result = ir.from_proto(onnx.load_from_string(data))
    frontend.attach(
        result, {n: v.const_value for n, v in model.graph.initializers.items() if v.const_value is not None}
    )
    for value, known in zip(result.graph.outputs, model.graph.outputs, strict=True):
        value.shape = known.shape  # with its symbols, of which onnx drops some
    return result


def lower(data: bytes, opset: int) -> bytes:
    """The serialized model at `opset`. Raises BadInput when the checker refuses the result. Runs in the child."""
    model = onnx.load_from_string(data)
    try:
        model = onnx.version_converter.convert_version(model, opset)
    except Exception:
        model = _stepwise(model, opset)
    _inputs_to_attributes(model.graph, opset, {})
    _drop_younger(model.graph, opset)
    return bytes(upgrade.checked(model).SerializeToString())


def _stepwise(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """One version down at a time; where onnx has no way down it is the label alone that changes.

    Most new versions of an op only add element types; the checker and the proof find the others.
    """
    while (version := upgrade.default_opset(model)) > opset:
        try:
            model = onnx.version_converter.convert_version(model, version - 1)
        except Exception:
            _relabel(model, version - 1)
            _inputs_to_attributes(model.graph, version - 1, {})
    return model


def _relabel(model: onnx.ModelProto, version: int) -> None:
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = version


def _inputs_to_attributes(graph: onnx.GraphProto, opset: int, outer: Mapping[str, onnx.TensorProto]) -> None:
    """Constant inputs are the attributes that they were before their op took them as inputs; in subgraphs as well."""
    constants = {**outer, **{t.name: t for t in graph.initializer}}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
        for inner in subgraphs(node):
            _inputs_to_attributes(inner, opset, constants)
        _to_attributes(graph, node, opset, constants)


def _to_attributes(
    graph: onnx.GraphProto, node: onnx.NodeProto, opset: int, constants: Mapping[str, onnx.TensorProto]
) -> None:
    schema = _schema(node, opset)
    if schema is None or len(node.input) < 2:
        return
    if schema.max_input == 1 and all(not name or name in constants for name in node.input[1:]):
        for name, given in zip(_names(node.op_type), node.input[1:], strict=False):
            if given:
                node.attribute.append(_attribute(name, constants[given]))
        del node.input[1:]
    elif node.op_type == "Resize" and schema.min_input > 1:
        _fill_resize(graph, node)


def _names(op: str) -> tuple[str, ...]:
    """The attributes that an op's inputs behind the first were."""
    return ("axes",) if op.startswith("Reduce") else _WERE.get(op, ())


def _attribute(name: str, tensor: onnx.TensorProto) -> onnx.AttributeProto:
    array = onnx.numpy_helper.to_array(tensor)
    return onnx.helper.make_attribute(name, array.item() if name in _SCALARS else array.ravel().tolist())


def _fill_resize(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Resize once wanted all of its inputs: those left out are empty tensors."""
    for index in range(1, min(3, len(node.input))):
        if not node.input[index]:
            name = node.input[index] = f"{node.output[0]}_input{index}"
            graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, [0], []))


def _schema(node: onnx.NodeProto, opset: int) -> onnx.defs.OpSchema | None:
    """The op's signature at `opset`; None where it is no standard op there."""
    if node.domain not in ("", "ai.onnx"):
        return None
    try:
        return onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


def _drop_younger(graph: onnx.GraphProto, opset: int) -> None:
    """Leave out attributes that an op did not have yet and whose value says nothing; in subgraphs as well."""
    for node in graph.node:
        for inner in subgraphs(node):
            _drop_younger(inner, opset)
        known = _known(node, opset)
        reduces = any(a.name == "axes" and a.ints for a in node.attribute)
        unneeded = {"noop_with_empty_axes"} if reduces else set()
        for attribute in list(node.attribute):
            if attribute.name not in known and (attribute.name in unneeded or _is_idle(node.op_type, attribute)):
                node.attribute.remove(attribute)


def _known(node: onnx.NodeProto, opset: int) -> Set[str]:
    """The attributes that the op has at `opset`; those that the node has where that cannot be told."""
    schema = _schema(node, opset)
    return {a.name for a in node.attribute} if schema is None else schema.attributes.keys()


def _is_idle(op: str, attribute: onnx.AttributeProto) -> bool:
    """Whether the attribute has its default value, or one that says nothing where no default is declared."""
    if attribute.name in ("dilations", "steps"):
        return all(step == 1 for step in attribute.ints)
    if attribute.name in ("num_outputs", "training_mode"):
        return attribute.name == "num_outputs" or not attribute.i
    default = onnx.defs.get_schema(op).attributes[attribute.name].default_value
    found, expected = (onnx.helper.get_attribute_value(a) for a in (attribute, default))
    return bool(default.type) and found == expected
