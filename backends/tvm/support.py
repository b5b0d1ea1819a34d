"""What our schedules and TVM's ONNX importer take, as our own table: it needs no TVM."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from effc.backends.tvm.plan.symbols import names
from effc.backends.tvm.taken import FIXED, IMPORTED, SCHEDULED, WRONG
from effc.compiler import ir
from effc.compiler.lowering import FOREIGN, Check, Why, named
from effc.compiler.sized import fixing
from effc.core.errors import Caution, Refusal

FIX = "fix the model's symbolic dims with --shape, or export it as a constant"
"""What to do where a shape or a parameter has to be known."""
_TYPES = frozenset(
    {
        *(ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BOOL),
        *(ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64),
        *(ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64),
    }
)
_REDUCTIONS = tuple(f"Reduce{kind}" for kind in ("Max", "Min", "Mean", "Sum", "Prod"))
_SHAPED = (
    *("ConstantOfShape", "CumSum", "Expand", "Pad", "Range", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Trilu"),
    "Unsqueeze",
)
_CHECKS: dict[str, Check] = {}


def refusals(model: ir.Model) -> tuple[Refusal, ...]:
    """Every input and node that the backend cannot take, in graph order."""
    graph = model.graph
    inputs = ((v.name, "input", _input(v)) for v in graph.inputs)
    known = frozenset(name for v in graph.inputs for dim in ir.shape(v) or () for name in names(str(dim)))
    nodes = ((named(node), node.op_type, _why(node, known)) for node in graph)
    found = ((name, op, why) for name, op, why in (*inputs, *nodes) if why is not None)
    return tuple(Refusal(name or "?", op, why.reason, why.hint) for name, op, why in found)


def unscheduled(model: ir.Model) -> Iterator[Caution]:
    """Every node that is taken, of an op without a schedule of ours.

    Some forms of the others have none either; which, `effc explain` tells of a library.
    """
    for node in model.graph:
        if node.op_type in IMPORTED - SCHEDULED - FIXED:
            yield Caution(
                named(node), node.op_type, "it has no schedule of ours: TVM's own operator runs, by a plain one"
            )


def _input(value: ir.Value) -> Why | None:
    """Only the first dim of an input may be symbolic: a dynamic batch."""
    dims = ir.shape(value)
    if dims is None or any(not isinstance(d, int) for d in dims[1:]):
        return Why(f"only the batch may be symbolic in a TVM library, its shape is {dims}", _fix(value))
    if dims and dims[0] == "?":
        return Why("its first dim has no name", _fix(value))
    return None


def _fix(value: ir.Value) -> str:
    return f"fix it, with your sizes in place of 1: --shape {fixing(value)}"


def _why(node: ir.Node, known: frozenset[str]) -> Why | None:
    if node.domain not in ("", "ai.onnx"):
        return Why(f"the operator domain {node.domain!r} is not known", FOREIGN)
    if any(attribute.type.name in ("GRAPH", "GRAPHS") for attribute in node.attributes.values()):
        return Why("it has a subgraph, and libraries are compiled as one straight run", "export the model without it")
    if node.op_type in WRONG:
        return Why(WRONG[node.op_type])
    if node.op_type not in IMPORTED:
        return Why("neither our schedules nor TVM's importer have it")
    return next(_whys(node, known), None)


def _whys(node: ir.Node, known: frozenset[str]) -> Iterator[Why]:
    check = _CHECKS.get(node.op_type)
    if check is not None and (why := check(node)) is not None:
        yield why
    for value in (*node.inputs, *node.outputs):
        if value is not None and value.dtype is not None and value.dtype not in _TYPES:
            yield Why(f"{value.name!r} is {value.dtype.name.lower()}, which the kernels have not", "cast it to float32")
    for value in node.outputs:
        dims = ir.shape(value)
        unknown = [d for d in dims or () if not isinstance(d, int) and not names(d) <= known]
        if value.name and (dims is None or unknown):
            yield Why(f"the shape of {value.name!r} depends on values: {dims}", FIX)
    if any(_is_empty(v) for v in (node.inputs if node.op_type == "Concat" else node.inputs[:1])):
        yield Why("it reads a constant without elements", "leave it out of the model")
    if node.op_type.startswith(("Reduce", "Split")) and any(0 in (ir.shape(v) or ()) for v in _ends(node)):
        yield Why("it has tensors without elements", "leave it out of the model")


def _is_empty(value: ir.Value | None) -> bool:
    constant = ir.const(value)
    return constant is not None and constant.size == 0


def _ends(node: ir.Node) -> tuple[ir.Value | None, ...]:
    """What it mainly reads, and what it makes."""
    return (*node.inputs[:1], *node.outputs)


def _check(*ops: str) -> Callable[[Check], Check]:
    def register(function: Check) -> Check:
        _CHECKS.update(dict.fromkeys(ops, function))
        return function

    return register


def _used(node: ir.Node, position: int) -> bool:
    """Whether an output is there and anybody takes it."""
    found = node.outputs[position : position + 1]
    return any(v.name and (v.uses() or v.is_graph_output()) for v in found)


@_check("LayerNormalization")
def layer_normalization(node: ir.Node) -> Why | None:
    """Its statistics are placeholders in TVM."""
    return Why("TVM puts out no mean and deviation") if _used(node, 1) or _used(node, 2) else None


@_check("MaxPool")
def max_pool(node: ir.Node) -> Why | None:
    """Where the maxima were is not put out."""
    return Why("TVM puts out no indices") if _used(node, 1) else None


@_check("BatchNormalization")
def batch_normalization(node: ir.Node) -> Why | None:
    """Inference alone."""
    return Why("it trains", "export the model for inference") if ir.attr_int(node, "training_mode", 0) else None


@_check("Dropout")
def dropout(node: ir.Node) -> Why | None:
    """Inference alone, without the mask."""
    return Why("TVM puts out no mask") if _used(node, 1) else None


@_check("QuantizeLinear", "DequantizeLinear")
def quantization(node: ir.Node) -> Why | None:
    """Constant scales, one for the tensor or one for each slice along an axis."""
    if any(ir.const(v) is None for v in node.inputs[1:3] if v is not None):
        return Why("its scale is computed", "export it as a constant")
    return Why("it has a scale for each block") if ir.attr_int(node, "block_size", 0) else None


@_check("EyeLike")
def eye_like(node: ir.Node) -> Why | None:
    """Of its input's own type."""
    return Why("TVM's importer fails on a type of its own") if "dtype" in node.attributes else None


@_check("RoiAlign")
def roi_align(node: ir.Node) -> Why | None:
    """Means alone."""
    return Why("TVM takes maxima over other points") if ir.attr_str(node, "mode", "avg") == "max" else None


@_check("IsInf")
def is_inf(node: ir.Node) -> Why | None:
    """Both infinities."""
    one = not (ir.attr_int(node, "detect_positive", 1) and ir.attr_int(node, "detect_negative", 1))
    return Why("TVM tells the two infinities not apart") if one else None


@_check("Resize")
def resize(node: ir.Node) -> Why | None:
    """Images in their last two dims, by constant sizes, in the modes that TVM computes as ONNX does."""
    if ir.attr_int(node, "antialias", 0) or ir.attr_str(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return Why("TVM has no anti-aliasing and keeps no aspect ratio", "export Resize without them")
    if "axes" in node.attributes:
        return Why("it names axes", "give it a size for every dim")
    if ir.attr_str(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        return Why("TVM crops nothing while it resizes")
    if all(ir.const(v) is None for v in node.inputs[2:]):
        return Why("its size is computed", FIX)
    shapes = ir.shape(node.inputs[0]) or (), ir.shape(node.outputs[0]) or ()
    if len(shapes[0]) not in (3, 4, 5) or shapes[0][:2] != shapes[1][:2]:
        return Why("not only its spatial dims are resized")
    return None


@_check(*_REDUCTIONS, *_SHAPED)
def parameters(node: ir.Node) -> Why | None:
    """Their parameters are constants."""
    computed = [v.name for v in node.inputs[_FIRST.get(node.op_type, 1) :] if v is not None and ir.const(v) is None]
    return Why(f"its parameter {computed[0]!r} is computed", FIX) if computed else None


_FIRST = {"Range": 0, "ConstantOfShape": 0}
"""Where the parameters begin, if not behind the first input."""
