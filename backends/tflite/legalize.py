"""Legalization: float ONNX to float ONNX in the ops that TFLite has, each rule an algebraic identity.

A tensor that gets other values gets another name; a new tensor whose range is known says it.
"""

from __future__ import annotations

import math

import numpy as np

from effc.backends.tflite.layout import to_last
from effc.backends.tflite.ops.windows import Window
from effc.backends.tflite.trained import stored
from effc.compiler import ir
from effc.compiler.decompose import activations, norms, reductions
from effc.compiler.decompose.linear import constant_affine, gemm_form, scale_into_consumers
from effc.compiler.decompose.scores import scores
from effc.compiler.edit import Before
from effc.compiler.passes import affine
from effc.compiler.passes.compose.activations import GELU
from effc.compiler.passes.compose.norms import layer_norm
from effc.compiler.passes.forms import compose
from effc.compiler.passes.rewrite import Rule, each, graph_of, only_reader
from effc.compiler.phase import Phase, Step
from effc.compiler.trained import signed


def phases(precision: str) -> tuple[Phase, ...]:
    """The steps for a precision, in run order."""
    rules = (*_COMMON, *(_INT8 if precision == "int8" else ()), *_LATE)
    return (
        Phase("tflite-recognize", _LARGER),
        Phase("tflite-legalize", tuple(Step(rule.__name__, each(rule)) for rule in rules), rounds=4),
    )


def global_pool(node: ir.Node) -> bool:
    """GlobalAveragePool(x) is ReduceMean(x, axes=(2, ...)); GlobalMaxPool likewise."""
    name = {"GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax"}.get(node.op_type)
    if name is None:
        return False
    before = Before(node)
    axes = before.const("axes", np.arange(2, ir.rank(node.inputs[0]), dtype=np.int64))
    return before.replace(before.op(name, node.inputs[0], axes, keepdims=1))


def batch_norm(node: ir.Node) -> bool:
    """BatchNormalization(x) is x a + c, each a number per channel."""
    found = affine.of_batch_normalization(node) if node.op_type == "BatchNormalization" else None
    if found is None:
        return False
    shape = (1, -1) + (1,) * (ir.rank(node.inputs[0]) - 2)
    before = Before(node)
    scale = before.const("scale", found.scale.reshape(shape).astype(np.float32))
    shift = before.const("shift", found.shift.reshape(shape).astype(np.float32))
    return before.replace(before.op("Add", before.op("Mul", node.inputs[0], scale), shift))


def variadic(node: ir.Node) -> bool:
    """Sum, Max and Min of n tensors are n - 1 binary ones."""
    name = {"Sum": "Add", "Max": "Max", "Min": "Min"}.get(node.op_type)
    if name is None or (len(node.inputs) == 2 and name != "Add"):
        return False
    before = Before(node)
    total = node.inputs[0]
    for value in node.inputs[1:]:
        total = before.op(name, total, value)
    if total is None or total is node.inputs[0]:
        return False
    return before.replace(total)


def equal_ranks(node: ir.Node) -> bool:
    """A computed operand of lower rank gets leading ones, so that any layout can broadcast it."""
    if node.op_type not in _BROADCASTING:
        return False
    size, changed = ir.rank(node.outputs[0]), False
    for position, value in enumerate(node.inputs):
        if value is None or ir.const(value) is not None or ir.rank(value) in (0, size) or size < 3:
            continue
        dims = ir.shape(value) or ()
        if sum(not isinstance(d, int) for d in dims) > 1:
            continue
        target = [1] * (size - ir.rank(value)) + [d if isinstance(d, int) else -1 for d in dims]
        before = Before(node)
        shape = before.const("shape", np.asarray(target, np.int64))
        node.replace_input_with(position, before.op("Reshape", value, shape))
        changed = True
    return changed


def conv_1d(node: ir.Node) -> bool:
    """A window over (N, C, W) is one over (N, C, 1, W)."""
    if node.op_type not in ("Conv", "AveragePool", "MaxPool") or ir.rank(node.inputs[0]) != 3:
        return False
    weight = ir.const(node.inputs[1]) if node.op_type == "Conv" else None
    if node.op_type == "Conv" and weight is None:
        return False
    before = Before(node)
    axes = before.const("axes", np.asarray([2], np.int64))
    attributes: dict[str, object] = {k: _widened(k, a) for k, a in node.attributes.items()}
    operands = [before.op("Unsqueeze", node.inputs[0], axes), *node.inputs[1:]]
    if weight is not None:
        operands[1] = before.const("weight", weight[:, :, None, :])
    return before.replace(before.op("Squeeze", before.op(node.op_type, *operands, **attributes), axes))


def _widened(name: str, attribute: ir.Attr) -> object:
    if name == "pads":
        start, end = attribute.as_ints()
        return [0, start, 0, end]
    return [1, *attribute.as_ints()] if name in ("kernel_shape", "strides", "dilations") else attribute


def padded_average(node: ir.Node) -> bool:
    """AveragePool with padding that TFLite's pools do not have is written out."""
    return _write_padding_out(node, keep_same=True)


def same_average(node: ir.Node) -> bool:
    """AveragePool with any padding is written out: the int8 average is a convolution, which counts all elements."""
    return _write_padding_out(node, keep_same=False)


def _write_padding_out(node: ir.Node, *, keep_same: bool) -> bool:
    """AveragePool is Pad, AveragePool, and k / (elements inside) where padding does not count."""
    if node.op_type != "AveragePool":
        return False
    dims, out = ir.static_shape_from(node.inputs[0], 2), ir.static_shape_from(node.outputs[0], 2)
    if ir.rank(node.inputs[0]) != 4 or dims is None or out is None:
        return False
    given = Window.of(node, ir.attr_ints(node, "kernel_shape", (1, 1)))
    window = given.fitted(dims, out)
    counted = bool(ir.attr_int(node, "count_include_pad", 0))
    if window.padding(dims) == "VALID" or (keep_same and not counted and window.padding(dims) == "SAME"):
        return False
    before = Before(node)
    pads = before.const("pads", np.asarray([0, 0, *window.before, 0, 0, *window.after], np.int64))
    mean = before.op(
        "AveragePool",
        before.op("Pad", node.inputs[0], pads),
        kernel_shape=list(window.kernel),
        strides=list(window.strides),
    )
    coverage = _coverage(given, dims, out, counted=counted)
    return before.replace(mean if (coverage == 1).all() else before.op("Mul", mean, before.const("coverage", coverage)))


def _coverage(window: Window, dims: tuple[int, ...], out: tuple[int, ...], *, counted: bool) -> ir.Array:
    """k / (elements of each window that count), (1, 1, H, W)."""
    factors = []
    for axis in (0, 1):
        starts = np.arange(out[axis]) * window.strides[axis] - window.before[axis]
        low = -window.before[axis] if counted else 0
        high = dims[axis] + (window.after[axis] if counted else 0)
        inside = np.minimum(starts + window.kernel[axis], high) - np.maximum(starts, low)
        factors.append(window.kernel[axis] / inside)
    result: ir.Array = (factors[0][:, None] * factors[1][None, :])[None, None].astype(np.float32)
    return result


def divide_by_constant(node: ir.Node) -> bool:
    """x / c is x (1 / c): there is no delegated int8 DIV."""
    divisor = ir.const(node.inputs[1]) if node.op_type == "Div" else None
    if divisor is None or divisor.dtype != np.float32 or (divisor == 0).any():
        return False
    before, reciprocal = Before(node), (1.0 / np.asarray(divisor, np.float64)).astype(np.float32)
    return before.replace(before.op("Mul", node.inputs[0], before.const("reciprocal", reciprocal)))


def flatten_into_gemm(node: ir.Node) -> bool:
    """Flatten(x) W is Flatten(channels-last x) W', W' with its rows in that order: no transposition at run time."""
    source = node.inputs[0] if node.op_type == "Reshape" else None
    dims = ir.static_shape_from(source, 1)
    out = ir.shape(node.outputs[0])
    if source is None or dims is None or len(dims) < 2 or out is None or len(out) != 2 or out[1] != math.prod(dims):
        return False
    product = only_reader(node.outputs[0])
    moved = sum(d != 1 for d in dims) > 1 and dims[0] != 1 and _made_by_window(source)
    if product is None or product.op_type not in ("Gemm", "MatMul") or not moved:
        return False
    weight = ir.const(product.inputs[1])
    readable = weight is not None and weight.ndim == 2 and product.inputs[0] is node.outputs[0]
    if weight is None or not readable or ir.attr_int(product, "transA", 0):
        return False
    transposed = bool(ir.attr_int(product, "transB", 0))
    order = np.arange(out[1]).reshape(dims).transpose([*range(1, len(dims)), 0]).ravel()
    before = Before(node)
    last = before.op("Transpose", source, perm=list(to_last(len(dims) + 1)))
    node.replace_input_with(0, last)
    node.outputs[0].name = ir.fresh_name(graph_of(node), f"{node.outputs[0].name}_channels_last")
    rows = weight if ir.is_splat(weight) else np.take(weight, order, axis=int(transposed))
    product.replace_input_with(1, Before(product).const("rows", rows))
    return True


def _made_by_window(value: ir.Value) -> bool:
    """Whether a value comes from a convolution or pool, through element-wise ops, so that it is channels-last."""
    for _ in range(8):
        producer = value.producer()
        if producer is None or producer.inputs[0] is None:
            return False
        if producer.op_type in ("Conv", "ConvTranspose", "MaxPool", "AveragePool"):
            return True
        if producer.op_type not in ("Relu", "Clip", "HardSwish", "Add", "Mul", "Sigmoid"):
            return False
        value = producer.inputs[0]
    return False


_LARGER = (Step("gelu", compose(*GELU)), Step("layer normalization", each(layer_norm, "Sqrt", "Pow")))
"""GELU is a builtin; how the parts of a normalization are computed is for us to say."""
_BROADCASTING = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Where", "Equal", "Greater", "Less"})
_COMMON: tuple[Rule, ...] = (
    stored,
    signed,
    global_pool,
    batch_norm,
    activations.hard_sigmoid,
    activations.mish,
    activations.softplus,
    activations.softsign,
    activations.celu,
    activations.scaled_elu,
    activations.thresholded_relu,
    activations.shrink,
    norms.layer_norm,
    norms.group_norm,
    norms.instance_norm,
    norms.mean_variance,
    norms.lp_norm,
    reductions.global_lp_pool,
    reductions.reduced,
    reductions.log_sum_exp,
    variadic,
    conv_1d,
    gemm_form,
    padded_average,
)
_INT8: tuple[Rule, ...] = (scores, same_average, activations.hard_swish, divide_by_constant)
_LATE: tuple[Rule, ...] = (equal_ranks, constant_affine, scale_into_consumers, flatten_into_gemm)
