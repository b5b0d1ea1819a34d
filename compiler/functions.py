"""Functions that a model holds, as onnx's inliner takes them."""

from __future__ import annotations

import onnx

from effc.compiler import protos

Key = tuple[str, str, str]


def give_defaults(model: onnx.ModelProto) -> None:
    """Let calls state the attributes that they leave at the defaults of their function, in place.

    onnx's inliner knows attributes without defaults only.
    """
    defaults: dict[Key, list[onnx.AttributeProto]] = {}
    for function in model.functions:
        if function.attribute_proto:
            defaults[function.domain, function.name, function.overload] = list(function.attribute_proto)
            function.attribute.extend(attribute.name for attribute in function.attribute_proto)
    for node in protos.of_model(model) if defaults else ():
        given = {attribute.name for attribute in node.attribute}
        called = defaults.get((node.domain, node.op_type, node.overload), [])
        node.attribute.extend(attribute for attribute in called if attribute.name not in given)
    for function in model.functions:
        function.ClearField("attribute_proto")
