"""TVM's kernels in float16 against ONNX Runtime without optimizations; what code they are made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tvm_cases import Case, Outcomes, outcomes

from effc.backends import base
from effc.backends.tvm import compile, module
from effc.backends.tvm.cpu import ARM64, HALF, X86, for_target
from effc.compiler import ir, metrics
from effc.core.errors import BadInput
from effc.core.target import Target

RANDOM = np.random.default_rng(0)
STAND_IN = replace(X86["x86-64-v3"], bits=128, registers=32, width=16)
"""A CPU of eight lanes of float16 whose code x86 runs, by conversions."""
ROUNDED = 50.0
"""dB that sums of rounded products keep; what is summed in float32 is exact but for the last rounding."""
EXACT = 70.0


def drawn(*dims: int, scale: float = 1.0) -> np.ndarray:
    return (RANDOM.standard_normal(dims) * scale).astype(np.float16)


def conv(taken: int, made: int, taps: int, attributes: str = "", group: int = 1) -> Case:
    operands = {"w": drawn(made, taken // group, taps, taps, scale=0.2), "b": drawn(made)}
    given = ", ".join(part for part in (f"group={group}", attributes) if part)
    body = f"t = Conv<{given}>(a, w, b); y = Relu(t)"
    return Case(f"conv {taken} {made} {taps} {given}", body, {"half:a": ("N", taken, 9, 11)}, operands)


SUMS = [
    conv(20, 24, 3, "pads=[1,1,1,1]"),
    conv(168, 40, 1),
    conv(512, 8, 3),
    conv(3, 16, 3, "strides=[2,2]"),
    conv(24, 1, 3, "pads=[1,1,1,1]"),
    conv(20, 20, 5, "pads=[2,2,2,2]", group=20),
    conv(24, 16, 3, "pads=[1,1,1,1]", group=2),
    Case("transposed", "y = ConvTranspose<strides=[2,2]>(a, w)", {"half:a": (1, 24, 6, 6)}, {"w": drawn(24, 16, 3, 3)}),
    Case("gemm", "y = Gemm<transB=1>(a, w, b)", {"half:a": ("N", 5000)}, {"w": drawn(20, 5000), "b": drawn(20)}),
    Case("matmul", "y = MatMul(a, w)", {"half:a": (45, 130)}, {"w": drawn(130, 50)}),
    Case("matmul_computed", "y = MatMul(a, b)", {"half:a": (2, 4, 20, 97), "half:b": (2, 4, 97, 15)}),
    Case("frames", "y = Conv<strides=[12]>(a, w)", {"half:a": (2, 1, 200)}, {"w": drawn(20, 1, 32)}),
    Case(
        "squeezed",
        "t = GlobalAveragePool(a); u = Conv(t, w); v = HardSigmoid(u); y = Mul(a, v)",
        {"half:a": (1, 16, 6, 7)},
        {"w": drawn(16, 16, 1, 1)},
    ),
    Case(
        "cast_around",
        "t = Cast<to=10>(a); u = Conv(t, w); v = HardSwish(u); y = Cast<to=1>(v)",
        {"a": (1, 16, 6, 7)},
        {"w": drawn(16, 16, 1, 1)},
    ),
    Case("resize", 'y = Resize<mode="linear">(a, , s)', {"half:a": (1, 16, 6, 7)}, {"s": np.float32([1, 1, 2, 2])}),
]
ROWS = [
    Case("max_pool", "y = MaxPool<kernel_shape=[3,3], strides=[2,2]>(a)", {"half:a": (1, 20, 9, 9)}),
    Case("average_pool", "y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(a)", {"half:a": (1, 20, 9, 9)}),
    Case("average_of_large", "y = GlobalAveragePool(a)", {"half:a": np.full((1, 16, 9, 9), 6e4)}),
    Case("softmax", "y = Softmax<axis=-1>(a)", {"half:a": ("N", 40)}),
    Case("layer_norm", "y = LayerNormalization(a, s, b)", {"half:a": ("N", 70)}, {"s": drawn(70), "b": drawn(70)}),
    Case("mean", "y = ReduceMean(a, z)", {"half:a": (2, 300, 4)}, {"z": np.array([1])}),
    Case("mish_of_large", "y = Mish(a)", {"half:a": np.linspace(-90, 90, 50)}),
    *(Case(op, f"y = {op}(a)", {"half:a": (3, 50)}) for op in ("Erf", "Gelu", "Softplus", "Tanh", "Elu")),
]
LEAST = {case.name: least for cases, least in ((SUMS, ROUNDED), (ROWS, EXACT)) for case in cases}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return outcomes((*SUMS, *ROWS), tmp_path_factory.mktemp("half"), STAND_IN)


@pytest.mark.parametrize("name", LEAST)
def test_kernel_is_near_the_oracle(results: Outcomes, name: str) -> None:
    outcome = results[name]
    assert (outcome.found.shape, outcome.found.dtype) == (outcome.expected.shape, outcome.expected.dtype)
    assert metrics.sqnr_db(outcome.expected, outcome.found) >= LEAST[name]


def test_no_node_is_left_to_the_importer(results: Outcomes) -> None:
    assert results.operators == {"relax.call_tir", "relax.reshape"}


@pytest.mark.parametrize("case", [SUMS[0], SUMS[9]], ids=lambda case: case.name)
def test_products_are_summed_by_vectors_of_half_precision(case: Case) -> None:
    made = module.build(ir.from_proto(case.model()), for_target(Target.parse("tvm-arm64-fp16")))
    kernels = [f for f in made.functions.values() if compile.OURS in (f.attrs or {})]
    library = compile.kernels_library(kernels, for_target(Target.parse("tvm-arm64-fp16")))
    words = library.imports[0].inspect_source("asm") if library.imports else library.inspect_source("asm")
    assert "fmla" in words and ".8h" in words
    assert not [line for line in words.splitlines() if "fmla" in line and ".4s" in line]


def test_cpus_without_half_precision_are_refused() -> None:
    assert set(HALF) == set(ARM64) - {"cortex-a53", "cortex-a72"}
    with pytest.raises(BadInput, match="knows no cortex-a72") as raised:
        base.for_target(Target.parse("tvm-arm64-fp16:cortex-a72"))
    assert all(name in raised.value.hint for name in HALF)


def test_interfaces_stay_float32() -> None:
    target = Target.parse("tvm-arm64-fp16")
    narrowing = base.for_target(target).narrowing(target)
    assert narrowing is not None and (narrowing.dtype, narrowing.io) == ("float16", False)
    assert base.for_target(target).narrowing(Target.parse("tvm-arm64-fp32")) is None
