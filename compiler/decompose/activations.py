"""Activations written as the arithmetic and the plainer activations that every backend has."""

from __future__ import annotations

from effc.compiler import ir
from effc.compiler.edit import Before
from effc.compiler.passes.rewrite import is_float


def hard_sigmoid(node: ir.Node) -> bool:
    """HardSigmoid(x) is Clip(alpha x + beta, 0, 1), whose affine part a convolution before it takes in."""
    if node.op_type != "HardSigmoid":
        return False
    before = Before(node)
    alpha, beta = ir.attr_float(node, "alpha", 0.2), ir.attr_float(node, "beta", 0.5)
    product = before.op("Mul", node.inputs[0], before.scalar("alpha", alpha))
    total = before.op("Add", product, before.scalar("beta", beta))
    return before.replace(before.op("Clip", total, before.scalar("lo", 0.0), before.scalar("hi", 1.0)))


def hard_swish(node: ir.Node) -> bool:
    """HardSwish(x) is (x Clip(x + 3, 0, 6)) / 6: an ADD with fused RELU6 and a MUL, all delegated in int8."""
    if node.op_type != "HardSwish":
        return False
    before = Before(node)
    shifted = before.op("Add", node.inputs[0], before.scalar("three", 3.0))
    gate = before.op("Clip", shifted, before.scalar("lo", 0.0), before.scalar("hi", 6.0))
    product = before.op("Mul", node.inputs[0], gate)
    return before.replace(before.op("Mul", product, before.scalar("sixth", 1.0 / 6.0)))


def softplus(node: ir.Node) -> bool:
    """Softplus(x) is max(x, 0) + log(1 + exp(-|x|)), whose exponential does not overflow."""
    if node.op_type != "Softplus" or not is_float(node.inputs[0]):
        return False
    before, x = Before(node), node.inputs[0]
    shrunk = before.exact("Exp", before.exact("Neg", before.exact("Abs", x)))
    rest = before.exact("Log", before.exact("Add", shrunk, before.scalar("one", 1.0)))
    return before.replace(before.op("Add", before.exact("Relu", x), rest))


def mish(node: ir.Node) -> bool:
    """Mish(x) is x tanh(softplus(x)), whose parts stay within narrow ranges."""
    if node.op_type != "Mish" or not is_float(node.inputs[0]):
        return False
    before, x = Before(node), node.inputs[0]
    return before.replace(before.op("Mul", x, before.exact("Tanh", before.exact("Softplus", x))))


def softsign(node: ir.Node) -> bool:
    """Softsign(x) is x / (1 + |x|)."""
    if node.op_type != "Softsign" or not is_float(node.inputs[0]):
        return False
    before, x = Before(node), node.inputs[0]
    return before.replace(before.op("Div", x, before.exact("Add", before.exact("Abs", x), before.scalar("one", 1.0))))


def celu(node: ir.Node) -> bool:
    """Celu(x) is alpha Elu(x / alpha), with Elu's own alpha 1."""
    if node.op_type != "Celu" or not is_float(node.inputs[0]):
        return False
    before, alpha = Before(node), ir.attr_float(node, "alpha", 1.0)
    inner = before.exact("Elu", before.exact("Mul", node.inputs[0], before.scalar("inverse", 1.0 / alpha)))
    return before.replace(before.op("Mul", inner, before.scalar("alpha", alpha)))


_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


def scaled_elu(node: ir.Node) -> bool:
    """Elu and Selu are gamma max(x, 0) + gamma alpha Elu(min(x, 0)), with the inner alpha 1; Elu's gamma is 1."""
    selu = node.op_type == "Selu"
    alpha = ir.attr_float(node, "alpha", _SELU_ALPHA if selu else 1.0)
    if not (selu or (node.op_type == "Elu" and alpha != 1.0)) or not is_float(node.inputs[0]):
        return False
    gamma = ir.attr_float(node, "gamma", _SELU_GAMMA) if selu else 1.0
    before, x = Before(node), node.inputs[0]
    upper, lower = before.exact("Relu", x), before.exact("Elu", before.exact("Min", x, before.scalar("zero", 0.0)))
    if gamma != 1.0:
        upper = before.exact("Mul", upper, before.scalar("gamma", gamma))
    return before.replace(before.op("Add", upper, before.exact("Mul", lower, before.scalar("slope", gamma * alpha))))


def thresholded_relu(node: ir.Node) -> bool:
    """ThresholdedRelu(x) is x where x > alpha, 0 elsewhere."""
    if node.op_type != "ThresholdedRelu" or not is_float(node.inputs[0]):
        return False
    before, x = Before(node), node.inputs[0]
    above = before.exact("Greater", x, before.scalar("alpha", ir.attr_float(node, "alpha", 1.0)))
    return before.replace(before.op("Where", above, x, before.scalar("zero", 0.0)))


def shrink(node: ir.Node) -> bool:
    """Shrink(x) is x + bias where x < -lambd, x - bias where x > lambd, 0 between."""
    if node.op_type != "Shrink" or not is_float(node.inputs[0]):
        return False
    before, x = Before(node), node.inputs[0]
    lambd, bias = ir.attr_float(node, "lambd", 0.5), ir.attr_float(node, "bias", 0.0)
    moved = [before.exact(op, x, before.scalar("bias", bias)) if bias else x for op in ("Add", "Sub")]
    above = before.exact("Greater", x, before.scalar("lambd", lambd))
    below = before.exact("Less", x, before.scalar("minus_lambd", -lambd))
    upper = before.exact("Where", above, moved[1], before.scalar("zero", 0.0))
    return before.replace(before.op("Where", below, moved[0], upper))
