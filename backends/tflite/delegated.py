"""Which nodes XNNPACK does not take over, so that LiteRT's own kernels run them: on one thread, and mostly slowly.

Told by what each op is lowered to; tested against LiteRT's list of delegated operators (ai-edge-litert 2.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from effc.backends.tflite.ops.conv import is_cropped
from effc.backends.tflite.ops.windows import Window
from effc.compiler import ir
from effc.compiler.lowering import Why
from effc.compiler.passes.rewrite import input_at
from effc.core.errors import Caution

_NEVER = frozenset(
    {"ArgMax", "ArgMin", "Expand", "Gather", "LogSoftmax", "Pow", "ReduceProd", "Sign", "Split", "Tile", "Where"}
)
_HINTS = {"Split": "Slice is delegated", "LogSoftmax": "Softmax and Log are delegated"}
_QUANTIZATION = ("QuantizeLinear", "DequantizeLinear")
_OWN = "XNNPACK does not take"


def cautions(graph: ir.Graph) -> Iterator[Caution]:
    """Every node of a legalized graph with an operator that stays outside XNNPACK."""
    for node in graph:
        why = None if node.op_type in _QUANTIZATION else _why(node)
        if why is not None:
            reason = f"{why.reason}: LiteRT's own kernel runs"
            yield Caution(node.name or node.outputs[0].name or "?", node.op_type, reason, why.hint)


def _why(node: ir.Node) -> Why | None:
    if node.op_type in _NEVER:
        return Why(f"{_OWN} it", _HINTS.get(node.op_type, ""))
    for value in (*node.inputs[:1], *node.outputs):
        if value is not None and value.dtype not in (ir.DataType.FLOAT, None):
            return Why(f"{_OWN} {value.dtype.name.lower()}")
    check = _FORMS.get(node.op_type)
    return None if check is None else check(node)


def _resize(node: ir.Node) -> Why | None:
    nearest = ir.attr_str(node, "mode", "nearest") == "nearest"
    return Why(f"{_OWN} it to the nearest pixel", "mode linear is delegated") if nearest else None


def _slice(node: ir.Node) -> Why | None:
    """Whole steps of 1 over dims whose size is known."""
    steps, axes, dims = ir.const(input_at(node, 4)), ir.const(input_at(node, 3)), ir.shape(node.inputs[0]) or ()
    if steps is not None and any(int(step) != 1 for step in steps.ravel()):
        return Why(f"{_OWN} its steps", "steps of 1 are delegated")
    cut = range(len(dims)) if axes is None else [int(axis) for axis in axes.ravel()]
    symbolic = any(not isinstance(dims[axis], int) for axis in cut)
    return Why(f"{_OWN} slices of a symbolic dim", "fix it with --shape") if symbolic else None


def _pad(node: ir.Node) -> Why | None:
    fill = ir.const(input_at(node, 2))
    if ir.attr_str(node, "mode", "constant") != "constant":
        return Why(f"{_OWN} its mode", "padding with 0 is delegated")
    return Why(f"{_OWN} padding with other than 0") if fill is not None and fill.any() else None


def _max_pool(node: ir.Node) -> Why | None:
    """Explicit padding that is not SAME is an operator of its own, filled with the lowest value."""
    dims, out = ir.static_shape_from(node.inputs[0], 2), ir.static_shape_from(node.outputs[0], 2)
    if dims is None or out is None:
        return None
    window = Window.of(node, ir.attr_ints(node, "kernel_shape", (1, 1))).fitted(dims, out)
    return Why(f"{_OWN} its padding, an operator of its own") if window.padding(dims) is None else None


def _conv_transpose(node: ir.Node) -> Why | None:
    return Why(f"{_OWN} the crop of its output, an operator of its own") if is_cropped(node) else None


_FORMS: dict[str, Callable[[ir.Node], Why | None]] = {
    "ConvTranspose": _conv_transpose,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "Resize": _resize,
    "Slice": _slice,
}
