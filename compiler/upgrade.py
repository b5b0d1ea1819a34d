"""Check, inline functions, raise the opset, infer shapes: onnx's C++ on a model without its weights, in a child.

A damaged model can crash, hang or exhaust these libraries; in a child with a deadline and a memory limit it cannot
take the build with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import onnx
import onnx.inliner
import onnx.parser
import onnx.shape_inference
import onnx.version_converter
from onnx import TensorProto

from effc.compiler.functions import give_defaults
from effc.compiler.protos import subgraphs
from effc.core.errors import BadInput, brief
from effc.core.limits import limited

MEMORY_LIMIT = 3 << 29
_COPIES = 8
"""How often a model may lie in memory at once while it is converted."""
OLDEST_SUPPORTED = 7
_LONGEST_MESSAGE = 4000
_INTERNAL_IR = 10
Result = TypeVar("Result")
_NUMBERED = "unk__"
NAMING = "onnx_shape_inference"
"""The library of symbolic inference, which takes long to import."""
_OVERFLOW = "during data propagation"
"""In onnx's words for integers that wrap around, as they do when the model runs."""
_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
_FLOORED_FROM = 28
_FLOORED = """
<opset_import: ["" : 21], domain: "effc">
FloorMod (x, y) => (z) {
    truncated = Mod <fmod = 1> (x, y)
    number = Constant <value_float = 0.0> ()
    zero = CastLike (number, x)
    below = Less (truncated, zero)
    negative = Less (y, zero)
    other_side = Xor (below, negative)
    exact = Equal (truncated, zero)
    inexact = Not (exact)
    wrong = And (other_side, inexact)
    moved = Add (truncated, y)
    z = Where (wrong, moved, truncated)
}
"""


def upgrade(data: bytes, target: int, named: bool = True) -> bytes:
    """The model at opset `target`, functions inlined, with inferred shapes as value infos.

    Dims that onnx leaves open are `named` by symbolic inference where it is asked for, else by `completed` later.
    `where` of what it raises is the node, if one is known. Raises BadInput.
    """
    with limited(MEMORY_LIMIT + _COPIES * len(data)):
        model = _upgraded(onnx.load_from_string(data), target)
        if named:
            model = _complete(model)
    model.ir_version = max(_INTERNAL_IR, model.ir_version)
    return bytes(model.SerializeToString())


def _upgraded(model: onnx.ModelProto, target: int) -> onnx.ModelProto:
    opset = default_opset(model)
    give_defaults(model)
    for node in model.graph.node:
        if node.op_type == "MeanVarianceNormalization" and not node.domain:
            _fill_defaults(node, opset)  # onnx's inference looks for its axes
    if opset > onnx.defs.onnx_opset_version():
        raise BadInput(f"opset {opset} is newer than this onnx knows ({onnx.defs.onnx_opset_version()})")
    if not all(v.type.tensor_type.HasField("shape") for v in model.graph.output if v.type.HasField("tensor_type")):
        model = _attempt(lambda: infer(model), "its shapes contradict each other")
    _check(model)
    if model.functions:
        model = _attempt(lambda: onnx.inliner.inline_local_functions(model, True), "its functions cannot be inlined")
    inferred = _attempt(lambda: infer(model), "its shapes contradict each other")
    return inferred if opset == target else _convert(model, target)


def checked(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with inferred shapes. Raises BadInput when the checker or shape inference refuses it."""
    _check(model)
    return _attempt(lambda: infer(model), "its shapes contradict each other")


def _check(model: onnx.ModelProto) -> None:
    _attempt(lambda: onnx.checker.check_model(model), "the ONNX checker refuses it")


def default_opset(model: onnx.ModelProto) -> int:
    """The version of the default domain; 1 where it is not imported."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)


def completed(data: bytes) -> bytes:
    """The serialized model with inferred shapes in which dims that onnx leaves open have names, where they follow."""
    return bytes(_complete(infer(onnx.load_from_string(data)), adopt=False).SerializeToString())


def infer(model: onnx.ModelProto) -> onnx.ModelProto:
    """onnx's shape inference, strict, with data propagation; dims that it could only number stay open."""
    strict = partial(onnx.shape_inference.infer_shapes, model, check_type=True, strict_mode=True)
    try:
        inferred = strict(data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        if _OVERFLOW not in str(error):
            raise
        inferred = strict()
    given = {d.dim_param for v in model.graph.input for d in v.type.tensor_type.shape.dim}
    _open(inferred.graph, given)
    return inferred


def _open(graph: onnx.GraphProto, given: set[str]) -> None:
    """Clear dims that are only numbered, also in branches and loop bodies."""
    for value in (*graph.value_info, *graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param.startswith(_NUMBERED) and dim.dim_param not in given:
                dim.Clear()
    for inner in (inner for node in graph.node for inner in subgraphs(node)):
        _open(inner, given)


def _attempt(action: Callable[[], Result], what: str) -> Result:
    try:
        return action()
    except Exception as error:
        raise BadInput(f"{what}: {summary(error)}") from None


def summary(error: Exception) -> str:
    """A library's message in one line, without its source positions and doubled kinds."""
    text = brief(str(error), _LONGEST_MESSAGE)  # a name may be as long as it likes, the patterns take its square
    text = re.sub(r"\S+\.(cc|h|cpp):\d+:?( operator\(\):?| \w+:)?", "", text)
    text = re.sub(r"\[(ShapeInferenceError|TypeInferenceError)\]", "", text.replace("==> Context:", ";"))
    return re.sub(r"\s+", " ", text).strip()[:600] or type(error).__name__


def _convert(model: onnx.ModelProto, target: int) -> onnx.ModelProto:
    """The first way of conversion whose result the checker and shape inference accept."""
    failures = []
    if target < _FLOORED_FROM <= default_opset(model):
        model = _truncate_mods(model)
    for way in (_by_onnx, _by_onnxscript, _by_label, _by_decomposition):
        try:
            converted = way(model, target)
            converted.ir_version = max(_INTERNAL_IR, model.ir_version)
            onnx.checker.check_model(converted)
            return infer(converted)
        except Exception as error:
            failures.append(summary(error))
    opset = default_opset(model)
    hint = f"export it with an opset from {OLDEST_SUPPORTED} to {target}"
    raise BadInput(f"opset {opset} cannot be converted to {target}: {failures[0]}", hint=hint)


def _truncate_mods(model: onnx.ModelProto) -> onnx.ModelProto:
    """`Mod(x, y)` of floats, floored, which opset 28 allowed, is the remainder of `x / y` moved to the sign of `y`."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    types = {v.name: v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.value_info)}
    types |= {t.name: t.data_type for t in model.graph.initializer}
    floored = [
        node
        for node in changed.graph.node
        if node.op_type == "Mod" and types.get(node.input[0]) in _FLOATS and not any(a.i for a in node.attribute)
    ]
    if not floored:
        return model
    for node in floored:
        node.domain, node.op_type = "effc", "FloorMod"
        node.ClearField("attribute")
    changed.functions.append(onnx.parser.parse_function(_FLOORED))
    changed.opset_import.append(onnx.helper.make_opsetid("effc", 1))
    return onnx.inliner.inline_local_functions(changed, True)


def _by_onnx(model: onnx.ModelProto, target: int) -> onnx.ModelProto:
    return onnx.version_converter.convert_version(model, target)


def _by_onnxscript(model: onnx.ModelProto, target: int) -> onnx.ModelProto:
    import onnx_ir
    from onnxscript.version_converter import convert_version

    held = onnx_ir.from_proto(model)
    convert_version(held, target)
    if held.opset_imports.get("") != target:
        raise ValueError("onnxscript could not convert it")
    return onnx_ir.to_proto(held)


def _by_label(model: onnx.ModelProto, target: int) -> onnx.ModelProto:
    """Change the number alone: most new versions of an op only add element types, and the checker sees the rest."""
    relabelled = onnx.ModelProto()
    relabelled.CopyFrom(model)
    for entry in relabelled.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = target
    return relabelled


def _by_decomposition(model: onnx.ModelProto, target: int) -> onnx.ModelProto:
    """Write ops that `target` does not have as the functions that the ONNX standard defines them by."""
    complete = _by_label(model, opset := default_opset(model))
    newer = [n for n in complete.graph.node if not n.domain and not _exists(n.op_type, target)]
    for node in newer:
        _fill_defaults(node, opset)
    names = [("", node.op_type) for node in newer]
    types = [onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in complete.graph.initializer]
    left_out = onnx.helper.make_tensor_value_info("", TensorProto.FLOAT, None)
    complete.graph.value_info.extend([*types, left_out])  # the inliner looks for every input there
    inlined = onnx.inliner.inline_selected_functions(complete, names, False, True)
    inlined.graph.value_info.remove(left_out)
    return _by_label(inlined, target)


def _fill_defaults(node: onnx.NodeProto, opset: int) -> None:
    """The inliner leaves references to attributes empty that the node leaves at their default."""
    given = {a.name for a in node.attribute}
    for name, attribute in onnx.defs.get_schema(node.op_type, opset, "").attributes.items():
        if name not in given and attribute.default_value.type:
            node.attribute.append(attribute.default_value)


def _exists(op: str, opset: int) -> bool:
    try:
        return bool(onnx.defs.get_schema(op, opset, ""))
    except onnx.defs.SchemaError:
        return False


def _complete(model: onnx.ModelProto, adopt: bool = True) -> onnx.ModelProto:
    """Name the dims that onnx left open with symbols, as far as symbolic inference can tell them.

    To `adopt` the names that outputs declare takes longer than all else.
    """
    if _is_complete(model):
        return model
    import onnx_ir
    from onnx_shape_inference import infer_symbolic_shapes  # type: ignore[import-untyped]

    try:
        found = infer_symbolic_shapes(onnx_ir.from_proto(model), adopt_declared_symbols=adopt)
        completed: onnx.ModelProto = onnx_ir.to_proto(found)
        merged = _by_label(model, default_opset(model))
        _merge(merged, completed)
        infer(merged)
    except Exception:
        return model  # its results are a gain where they hold, never a condition
    return merged


def _is_complete(model: onnx.ModelProto) -> bool:
    known = {v.name for v in (*model.graph.value_info, *model.graph.output) if _is_known(v)}
    return all(name in known for node in model.graph.node for name in node.output if name)


def _merge(model: onnx.ModelProto, completed: onnx.ModelProto) -> None:
    """Take what `completed` knows more, but nothing that comes from a Slice of an open dim or an open Split.

    The symbolic inference assumes that the slice lies inside, which real models (`x[:1000000000]`) break, and that
    parts whose sizes are computed are equal.
    """
    known = {t.name for t in model.graph.initializer}
    known |= {name for node in model.graph.node if node.op_type == "Constant" for name in node.output}
    old = {v.name: v for v in (*model.graph.value_info, *model.graph.output)}
    new = {v.name: v for v in (*completed.graph.value_info, *completed.graph.output)}
    assumed: set[str] = set()
    for node in model.graph.node:
        guessed = node.op_type == "Slice" and _has_new_number(old.get(node.output[0]), new.get(node.output[0]))
        guessed |= node.op_type == "Split" and not known.issuperset(filter(None, node.input[1:]))
        if guessed or assumed.intersection(node.input):
            assumed.update(node.output)
            continue
        for name in (n for n in node.output if n in new and not _is_known(old.get(n))):
            if name in old:
                old[name].CopyFrom(new[name])
            else:
                model.graph.value_info.append(new[name])


def _is_known(value: onnx.ValueInfoProto | None) -> bool:
    if value is None or not value.type.tensor_type.HasField("shape"):
        return False
    return all(d.dim_param or d.HasField("dim_value") for d in value.type.tensor_type.shape.dim)


def _has_new_number(old: onnx.ValueInfoProto | None, new: onnx.ValueInfoProto | None) -> bool:
    """Whether a dim that was open in `old` is a number in `new`."""
    if new is None:
        return False
    dims = new.type.tensor_type.shape.dim
    before = [] if old is None else list(old.type.tensor_type.shape.dim)
    known = before if len(before) == len(dims) else [onnx.TensorShapeProto.Dimension()] * len(dims)
    return any(b.HasField("dim_value") and not a.HasField("dim_value") for a, b in zip(known, dims, strict=True))
