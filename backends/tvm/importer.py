"""One node through TVM's own ONNX importer, on row-major tensors."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import onnx_ir
import tvm_ffi
from tvm import relax
from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter

from effc.compiler import ir


def imported(builder: relax.BlockBuilder, node: ir.Node, operands: Mapping[str, relax.Expr]) -> dict[str, relax.Expr]:
    """The node's outputs by name, where the builder stands; those that the importer leaves out are missing.

    Args:
        operands: by name; constants as constants, since shapes and axes are read from them.
    """
    importer = ONNXGraphImporter({}, {})
    importer.bb, importer.opset, importer._nodes = builder, ir.INTERNAL_OPSET, dict(operands)
    importer._construct_nodes(onnx.GraphProto(node=[onnx_ir.to_proto(node)]))
    names = [value.name or "" for value in node.outputs]
    return {name: importer._nodes[name] for name in names if name in importer._nodes}


def settled(builder: relax.BlockBuilder, found: relax.Expr, wanted: relax.TensorType, name: str) -> relax.Var:
    """What was imported, as a variable of the type that ONNX's shape inference states."""
    held = builder.emit(found, name)
    if isinstance(held.ty, relax.ShapeType):
        held = builder.emit(relax.op.shape_to_tensor(held))
    same = isinstance(held.ty, relax.TensorType) and tvm_ffi.structural_equal(held.ty, wanted)
    return held if same else builder.match_cast(held, wanted)
