"""TVM's element-wise expressions: functions by their error in ulp, all ops and types against ONNX Runtime."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from tvm_cases import Case, Outcomes, outcomes

from effc.compiler import metrics

Reference = Callable[[NDArray[np.float64]], NDArray[np.float64]]
TINY = 2.0**-126
"""The smallest normal float32."""


def everywhere() -> NDArray[np.float32]:
    """float32 of all magnitudes, signs and kinds, more of them where functions bend."""
    random = np.random.default_rng(0)
    bits = np.linspace(0, 2**31 - 1, 20_000).astype(np.uint32)
    spread = np.concatenate([bits, bits | np.uint32(1 << 31)]).view(np.float32)
    near = [random.uniform(-s, s, 10_000).astype(np.float32) for s in (1, 4, 20, 110)]
    special = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, TINY, -TINY, 1e-45, 0.625, 0.92, 3.95, 88.8, -103.9])
    return np.concatenate([spread, *near, special])


def softplus(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.logaddexp(0, x))


FUNCTIONS: dict[str, tuple[Reference, float]] = {
    "Exp": (np.exp, 1.1),
    "Log": (np.log, 1.1),
    "Tanh": (np.tanh, 1.4),
    "Sigmoid": (lambda x: np.exp(-softplus(-x)), 2.5),
    "Erf": (np.vectorize(math.erf), 1.5),
    "Softplus": (softplus, 2.5),
    "Mish": (lambda x: x * np.tanh(softplus(x)), 4.0),
}
"""By op: in float64, and the largest error that is stated, in ulp of a normal float32 result."""
LOWEST = {"Mish": -87.0}
"""From where on the error is stated; from the lowest number on where nothing stands here."""


def unary(op: str) -> Case:
    return Case(f"of_{op}", f"y = {op}(a)", {"a": everywhere()})


def binary(op: str, kind: str, a: tuple[int | str, ...], b: tuple[int | str, ...]) -> Case:
    return Case(f"{op}_{kind}_{a}_{b}", f"y = {op}(a, b)", {f"{kind}:a": a, f"{kind}:b": b})


def positive(*dims: int) -> np.ndarray:
    return np.abs(np.random.default_rng(1).standard_normal(dims)) + 0.1


PLAIN = (
    *(
        "Abs",
        "Ceil",
        "Cos",
        "Elu",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Neg",
        "Reciprocal",
        "Relu",
    ),
    *("Round", "Selu", "Sign", "Sin", "Softsign", 'Gelu<approximate="tanh">', "Elu<alpha=0.5>", "LeakyRelu<alpha=0.3>"),
)
PAIRS = [
    *(
        (op, "float", a, b)
        for op in ("Add", "Sub", "Mul", "Div", "Max", "Min")
        for a, b in [((2, 3, 40), (3, 1)), (("N",), ("N",))]
    ),
    *((op, "float", ("N", 5, 7), ("N", 1, 7)) for op in ("Add", "PRelu")),
    *((op, kind, (3, 21), (1, 21)) for op in ("Add", "Sub", "Mul", "Max", "Min") for kind in ("long", "int")),
    *((op, "half", (3, 21), (3, 21)) for op in ("Add", "Mul")),
    *((op, "double", (3, 21), (3, 1)) for op in ("Add", "Div")),
    *(
        (op, kind, (3, 21), (21,))
        for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
        for kind in ("float", "long")
    ),
    *((op, "bool", (3, 21), (21,)) for op in ("And", "Or", "Xor", "Equal")),
    ("Add", "float", (), ()),
    ("Mul", "float", (), (4, 5)),
]
CAST = {1: "float", 7: "long", 6: "int", 9: "bool", 10: "half", 11: "double"}
"""The numbers that ONNX gives types."""
OTHERS = [
    Case("not", "y = Not(a)", {"bool:a": (3, 21)}),
    Case("divided_integers", "y = Div(a, b)", {"long:a": (3, 8), "long:b": np.array([1, -2, 3, -4, 5, 6, 7, -8])}),
    Case("clip", "y = Clip(a, b, c)", {"a": (3, 37)}, {"b": np.float32(-0.5), "c": np.float32(0.5)}),
    Case("clip_above", "y = Clip(a, , c)", {"a": (3, 37)}, {"c": np.float32(0.5)}),
    Case("clip_integers", "y = Clip(a, b)", {"long:a": (3, 20)}, {"b": np.array(-2)}),
    Case("where", "y = Where(c, a, b)", {"bool:c": (3, 1), "a": (3, 37)}, {"b": np.float32(-1)}),
    Case("where_integers", "y = Where(c, a, b)", {"bool:c": (3, 37), "long:a": (3, 37)}, {"b": np.array([7])}),
    Case("max_of_three", "y = Max(a, b, c)", {"a": (3, 5), "b": (5,), "c": (3, 1)}),
    Case("power_of_integers", "y = Pow(a, b)", {"long:a": (3, 5)}, {"b": np.array(3)}),
    Case("power_computed", "y = Pow(a, b)", {"a": positive(3, 5), "b": (3, 5)}),
    *(
        Case(f"power_{e}", "y = Pow(a, b)", {"a": positive(3, 37)}, {"b": np.float32(e)})
        for e in (2, 3, 4, 0.5, -1, 1, 1.7)
    ),
    *(Case(f"log_{n}", "y = Sqrt(a)", {"a": positive(n)}) for n in (1, 15, 16, 17, 70)),
    *(
        Case(f"cast_{a}_{b}", f"y = Cast<to={i}>(a)", {f"{a}:a": np.arange(63).reshape(3, 21) * 0.75})
        for a in CAST.values()
        for i, b in CAST.items()
        if a != b
    ),
    Case("gate", "s = Sigmoid(a); y = Mul(a, s)", {"a": (2, 30)}),
    Case(
        "nan_passes",
        "t = Relu(a); u = Clip(t, b, c); v = Max(u, b); y = Min(v, c)",
        {"a": np.array([np.nan, 1.0, -1.0, np.inf])},
        {"b": np.float32(-0.5), "c": np.float32(0.5)},
    ),
]
CASES = {
    case.name: case
    for case in (
        *(Case(op, f"y = {op}(a)", {"a": (3, 37)}) for op in PLAIN),
        *(binary(*pair) for pair in PAIRS),
        *OTHERS,
    )
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    every = (*CASES.values(), *(unary(op) for op in FUNCTIONS))
    return outcomes(every, tmp_path_factory.mktemp("expressions"))


@pytest.mark.parametrize("name", CASES)
def test_expression_equals_the_oracle(results: Outcomes, name: str) -> None:
    outcome = results[name]
    expected, found = outcome.expected, outcome.found
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    if expected.dtype.kind != "f" or not np.isfinite(expected).all():
        np.testing.assert_array_equal(found, expected)
    else:
        assert metrics.sqnr_db(expected, found) >= (60 if expected.dtype == np.float16 else 120)


@pytest.mark.parametrize("op", FUNCTIONS)
def test_function_keeps_the_error_that_it_states(results: Outcomes, op: str) -> None:
    reference, most = FUNCTIONS[op]
    x, found = everywhere(), results[f"of_{op}"].found
    with np.errstate(all="ignore"):
        exact = reference(x.astype(np.float64))
        rounded = exact.astype(np.float32)
    normal = (np.abs(exact) >= TINY) & np.isfinite(rounded) & ~(x < LOWEST.get(op, -np.inf))
    steps = np.abs(found[normal] - exact[normal]) / np.spacing(np.abs(rounded[normal])).astype(np.float64)
    assert steps.max() <= most


@pytest.mark.parametrize("op", FUNCTIONS)
def test_function_is_right_where_it_is_not_finite_or_not_normal(results: Outcomes, op: str) -> None:
    x, found = everywhere(), results[f"of_{op}"].found
    with np.errstate(all="ignore"):
        rounded = FUNCTIONS[op][0](x.astype(np.float64)).astype(np.float32)
    apart = ~np.isfinite(rounded)
    np.testing.assert_array_equal(found[apart], rounded[apart])
    small = np.abs(rounded) < TINY
    assert np.all(np.abs(found[small] - rounded[small]) <= TINY)
