"""Transcendental functions as polynomials on vectors, since LLVM would call libm for every lane.

Arguments are reduced as in J.-M. Muller, "Elementary Functions" (3rd edition, chapter 11); the polynomials are minimax
fits of relative error, found by Lawson's iteration and rounded to float32 one coefficient after another. float16 is
computed in float32; float64 is left to libm. The errors stated are the largest over all float32 arguments, in units in
the last place of the float32 result. NaN gives NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps

from tvm.tirx.script import builder as T

from effc.backends.tvm.schedules.nest import Expr, as_type, number, scalar_of

Function = Callable[[Expr], Expr]

_LOG2_E = 1.44269504088896341
_LN2_HIGH, _LN2_LOW = 0.693145751953125, 1.42860682030941723e-6
"""ln 2 in two parts; the first has 16 bits, so that its product with an exponent is exact."""
_EXP = (0.4999999403953552, 0.16666516661643982, 0.04166828468441963, 0.00836925022304058, 0.0013820468448102474)
_LOG = (
    *(0.3333333134651184, -0.2500081956386566, 0.2000124156475067, -0.166234090924263),
    *(0.14201579988002777, -0.13159610331058502, 0.12762217223644257, -0.07636439055204391),
)
_TANH = (-0.3333328068256378, 0.13331405818462372, -0.05373651534318924, 0.02062816731631756, -0.0056922961957752705)
_ERF_NEAR = (
    *(0.12837916612625122, -0.3761262893676758, 0.11283625662326813, -0.026855740696191788),
    *(0.0051924604922533035, -0.0008050804026424885, 8.002774848137051e-05),
)
_ERF_FAR = (
    *(0.0001956755731953308, 1.1276756525039673, 0.6371821761131287, 0.10393165796995163),
    *(-0.022226931527256966, 0.003043210133910179, -0.0001959348446689546),
)


def _on_float32(exact: Function) -> Callable[[Function], Function]:
    """Decorator: the function sees float32; float64 goes to `exact`."""

    def wrap(function: Function) -> Function:
        @wraps(function)
        def typed(x: Expr) -> Expr:
            match scalar_of(x):
                case "float64":
                    return exact(x)
                case "float16":
                    return T.cast(function(T.cast(x, as_type("float32", x))), as_type("float16", x))
                case _:
                    return function(x)

        return typed

    return wrap


def polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """`c0 + c1 x + c2 x^2 + ...` by Horner's rule."""
    total = number(coefficients[-1], x)
    for c in reversed(coefficients[:-1]):
        total = total * x + number(c, x)
    return total


@_on_float32(T.exp)
def exp(x: Expr) -> Expr:
    """e^x within 1.1 ulp, denormal results within one step: `2^n (1 + r + r^2 p(r))`, |r| <= ln 2 / 2."""
    held = T.max(T.min(x, number(89.0, x)), number(-104.0, x))
    turns = T.nearbyint(held * number(_LOG2_E, x))
    n = T.cast(turns, as_type("int32", x))
    half = n >> number(1, n)
    result = _reduced_exp(held, turns) * _power_of_two(half) * _power_of_two(n - half)
    return _nan_kept(x, result)


def _bounded_exp(x: Expr) -> Expr:
    """e^x where -87 <= x <= 88."""
    turns = T.nearbyint(x * number(_LOG2_E, x))
    return _reduced_exp(x, turns) * _power_of_two(T.cast(turns, as_type("int32", x)))


def _reduced_exp(x: Expr, turns: Expr) -> Expr:
    r = (x - turns * number(_LN2_HIGH, x)) - turns * number(_LN2_LOW, x)
    return polynomial(r, _EXP) * (r * r) + r + number(1.0, x)


def _power_of_two(n: Expr) -> Expr:
    """2^n, by writing the exponent; -126 <= n <= 127."""
    return T.reinterpret(as_type("float32", n), (n + number(127, n)) << number(23, n))


def _bits(x: Expr) -> Expr:
    return T.reinterpret(as_type("int32", x), x)


def _nan_kept(x: Expr, result: Expr) -> Expr:
    """`result`, but x where x is NaN; as a test of bits, which no pass takes for a comparison of x with itself."""
    size = _bits(x) & number(0x7FFFFFFF, _bits(x))
    return T.Select(size > number(0x7F800000, size), x, result)


@_on_float32(T.log)
def log(x: Expr) -> Expr:
    """ln x within 1.1 ulp: `e ln 2 + ln(1 + f)`, sqrt(1/2) <= 1 + f < sqrt(2)."""
    tiny = x < number(1.17549435e-38, x)
    scaled = T.Select(tiny, x * number(8388608.0, x), x)
    shifted = _bits(scaled) - number(0x3F3504F3, _bits(x))  # the bits of sqrt(1/2)
    e = T.cast(shifted >> number(23, shifted), as_type("float32", x))
    e = T.Select(tiny, e - number(23.0, e), e)
    mantissa = (shifted & number(0x007FFFFF, shifted)) + number(0x3F3504F3, shifted)
    f = T.reinterpret(as_type("float32", x), mantissa) - number(1.0, x)
    square = f * f
    tail = f * square * polynomial(f, _LOG) + e * number(_LN2_LOW, x)
    result = ((tail - number(0.5, x) * square) + f) + e * number(_LN2_HIGH, x)
    return _outside_of_log(x, result)


def _outside_of_log(x: Expr, result: Expr) -> Expr:
    """Minus infinity at 0, NaN below, x itself at infinity and NaN."""
    infinity = number(float("inf"), x)
    result = T.Select(x > number(0.0, x), result, T.Select(x < number(0.0, x), number(float("nan"), x), -infinity))
    return _nan_kept(x, T.Select(x < infinity, result, x))


@_on_float32(T.tanh)
def tanh(x: Expr) -> Expr:
    """tanh within 1.4 ulp: odd polynomial below 0.625, `1 - 2 / (e^2x + 1)` above."""
    size = absolute(x)
    square = x * x
    near = x + x * (square * polynomial(square, _TANH))
    e = _bounded_exp(T.min(size, number(10.0, x)) * number(2.0, x))
    far = number(1.0, x) - number(2.0, x) / (e + number(1.0, x))
    return _nan_kept(x, T.Select(size < number(0.625, x), near, _signed(far, x)))


def absolute(x: Expr) -> Expr:
    """|x| of a float32."""
    return T.reinterpret(as_type("float32", x), _bits(x) & number(0x7FFFFFFF, _bits(x)))


def _signed(size: Expr, like: Expr) -> Expr:
    sign = _bits(like) & number(-0x80000000, _bits(like))
    return T.reinterpret(as_type("float32", size), _bits(size) | sign)


def _exact_sigmoid(x: Expr) -> Expr:
    one = number(1.0, x)
    return one / (one + T.exp(number(0.0, x) - x))


@_on_float32(_exact_sigmoid)
def sigmoid(x: Expr) -> Expr:
    """`1 / (1 + e^-x)` within 2.5 ulp; results below 2^-127 are 0."""
    one = number(1.0, x)
    return one / (one + exp(number(0.0, x) - x))


@_on_float32(T.erf)
def erf(x: Expr) -> Expr:
    """erf within 1.5 ulp: odd polynomial below 0.92, `1 - e^-p(|x|)` above, 1 from 3.95 on."""
    size = T.min(absolute(x), number(3.95, x))
    square = x * x
    near = x + x * polynomial(square, _ERF_NEAR)
    far = number(1.0, x) - _bounded_exp(number(0.0, x) - polynomial(size, _ERF_FAR))
    return _nan_kept(x, T.Select(size < number(0.92, x), near, _signed(far, x)))


def _exact_softplus(x: Expr) -> Expr:
    return T.max(x, number(0.0, x)) + T.log(number(1.0, x) + T.exp(number(0.0, x) - T.fabs(x)))


@_on_float32(_exact_softplus)
def softplus(x: Expr) -> Expr:
    """`ln(1 + e^x) = max(x, 0) + ln(1 + u)`, u = e^-|x|, within 2.5 ulp; `ln(1 + u) = ln w + (u - (w - 1)) / w`."""
    u = exp(number(0.0, x) - absolute(x))
    one = number(1.0, x)
    w = _opaque(one + u)
    lost = u - (w - one)
    return _nan_kept(x, T.max(x, number(0.0, x)) + (log(w) + lost / w))


def _opaque(x: Expr) -> Expr:
    """x, out of sight of a simplifier that would cancel `(1 + u) - 1`."""
    return T.reinterpret(as_type("float32", x), _bits(x))


def _mish(x: Expr) -> Expr:
    """`x s / (s + 2)`, `s = e^x (e^x + 2)`."""
    e = exp(T.min(x, number(20.0, x)))
    s = e * (e + number(2.0, x))
    return T.Select(x > number(20.0, x), x, x * (s / (s + number(2.0, x))))


@_on_float32(_mish)
def mish(x: Expr) -> Expr:
    """`x tanh(ln(1 + e^x))`, within 4 ulp from -87 on; x from 20 on."""
    return _mish(x)
