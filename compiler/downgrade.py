"""A model written at a lower opset, without its weights, in a child."""

from __future__ import annotations

import onnx
import onnx.version_converter

from effc.compiler import frontend, ir, upgrade
from effc.compiler.apart import Apart
from effc.compiler.settle import skeleton
from effc.core.errors import BackendFailed, EffcError


def lowered(model: ir.Model, opset: int, child: Apart) -> ir.Model:
    """The model at `opset`; the weights are those of `model`, not copies.

    Raises EffcError when a node has no form there.
    """
    if opset == model.opset_imports.get(""):
        return model
    try:
        data: bytes = child.call(f"{__name__}:lower", skeleton(model).SerializeToString(), opset)
    except BackendFailed as error:
        raise EffcError(f"it has no form at opset {opset}: {error.what}") from error
    result = ir.from_proto(onnx.load_from_string(data))
    frontend.attach(
        result, {n: v.const_value for n, v in model.graph.initializers.items() if v.const_value is not None}
    )
    return result


def lower(data: bytes, opset: int) -> bytes:
    """The serialized model at `opset`. Raises BadInput when the checker refuses the result. Runs in the child."""
    model = onnx.load_from_string(data)
    try:
        model = onnx.version_converter.convert_version(model, opset)
    except Exception:
        model = _stepwise(model, opset)
    for node in model.graph.node:
        _drop_younger(node, opset)
    return upgrade.upgrade(model.SerializeToString(), opset)


def _stepwise(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """One version down at a time; where onnx has no way down it is the label alone that changes.

    Most new versions of an op only add element types; the checker and the proof find the others.
    """
    while (version := upgrade.default_opset(model)) > opset:
        try:
            model = onnx.version_converter.convert_version(model, version - 1)
        except Exception:
            _relabel(model, version - 1)
    return model


def _relabel(model: onnx.ModelProto, version: int) -> None:
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = version


def _drop_younger(node: onnx.NodeProto, opset: int) -> None:
    """Leave out attributes that the op did not have yet and whose value says nothing."""
    if node.domain not in ("", "ai.onnx"):
        return
    try:
        known = onnx.defs.get_schema(node.op_type, opset, "").attributes
    except onnx.defs.SchemaError:
        return
    idle = [a for a in node.attribute if a.name not in known and _is_idle(node.op_type, a)]
    for attribute in idle:
        node.attribute.remove(attribute)


def _is_idle(op: str, attribute: onnx.AttributeProto) -> bool:
    """Whether the attribute has its default value; dilations, which have none declared, are idle when all are 1."""
    if attribute.name == "dilations":
        return all(step == 1 for step in attribute.ints)
    default = onnx.defs.get_schema(op).attributes[attribute.name].default_value
    found, expected = (onnx.helper.get_attribute_value(a) for a in (attribute, default))
    return bool(default.type) and found == expected
