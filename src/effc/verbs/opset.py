"""A model at a lower opset, version by version, kept only if it is proved to compute the same."""

from __future__ import annotations

import onnx
import onnx.version_converter

from effc.compiler import ir, upgrade
from effc.compiler.proof import prove
from effc.core import worker
from effc.core.errors import EffcError


def at_opset(model: ir.Model, opset: int) -> ir.Model | None:
    """The model at `opset` if it can be converted there with equal outputs, else None."""
    if opset == model.opset_imports.get(""):
        return model
    try:
        data: bytes = worker.call("effc.verbs.opset:lower", ir.to_bytes(model), opset, stage="opset")
        converted = ir.from_bytes(data)
        prove(model, converted)
    except EffcError:
        return None
    return converted


def lower(data: bytes, opset: int) -> bytes:
    """The model one version down at a time; runs in a child, since onnx's C++ may crash.

    Where onnx has no way down it is the label alone that changes: most new versions of an op only add element types,
    and the checker and the proof find the others. Raises BadInput when the checker refuses the result.
    """
    model = onnx.load_from_string(data)
    while (version := upgrade.default_opset(model)) > opset:
        try:
            model = onnx.version_converter.convert_version(model, version - 1)
        except Exception:
            _relabel(model, version - 1)
    return upgrade.upgrade(model.SerializeToString(), opset)


def _relabel(model: onnx.ModelProto, version: int) -> None:
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = version
