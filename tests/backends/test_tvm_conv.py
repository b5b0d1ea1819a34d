"""TVM's convolutions, dense, grouped, depthwise and transposed, against ONNX Runtime without optimizations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from tvm_cases import Case, Outcomes, outcomes

from effc.compiler import metrics

RANDOM = np.random.default_rng(0)
Sizes = Sequence[int]


def conv(channels: tuple[int, int], size: Sizes, taps: Sizes, attributes: str = "", group: int = 1) -> Case:
    """With a bias, and a tail of two nodes: an operand for each channel, then a ReLU."""
    taken, made = channels
    operands = {
        "w": RANDOM.standard_normal((made, taken // group, *taps)),
        "b": RANDOM.standard_normal(made),
        "s": RANDOM.standard_normal((made, *(1,) * len(taps))),
    }
    return _case("Conv", operands, (taken, *size), attributes, group)


def grown(channels: tuple[int, int], size: Sizes, taps: Sizes, attributes: str = "", group: int = 1) -> Case:
    """The same with a transposed convolution."""
    taken, made = channels
    operands = {
        "w": RANDOM.standard_normal((taken, made // group, *taps)),
        "b": RANDOM.standard_normal(made),
        "s": RANDOM.standard_normal((made, *(1,) * len(taps))),
    }
    return _case("ConvTranspose", operands, (taken, *size), attributes, group)


def _case(op: str, operands: dict[str, np.ndarray], image: Sizes, attributes: str, group: int) -> Case:
    given = ", ".join(part for part in (f"group={group}", attributes) if part)
    body = f"t = {op}<{given}>(a, w, b); u = Mul(t, s); y = Relu(u)"
    shapes = "x".join(map(str, operands["w"].shape))
    return Case(f"{op} {image} {shapes} {given}", body, {"a": ("N", *image)}, operands)


SAME = "pads=[1,1,1,1]"
HALVED = "strides=[2,2], pads=[1,1,1,1]"
DENSE = [
    conv((24, 40), (7, 7), (3, 3), SAME),
    conv((12, 12), (9, 5), (1, 1)),
    conv((3, 24), (13, 11), (3, 3), HALVED),
    conv((1, 16), (9, 28), (3, 3), SAME),
    conv((20, 33), (11, 9), (3, 5), "pads=[1,2,0,3], dilations=[2,1]"),
    conv((17, 16), (6, 6), (3, 3), "pads=[5,4,4,5]"),
    conv((16, 16), (3, 3), (3, 3), SAME),
    conv((21, 19), (8, 31), (1, 3), 'auto_pad="SAME_UPPER", strides=[1,2]'),
    conv((21, 19), (8, 31), (2, 4), 'auto_pad="SAME_LOWER"'),
    conv((16, 32), (30,), (5,), "pads=[2,2]"),
    conv((5, 6), (30,), (4,), 'auto_pad="VALID"'),
    conv((3, 6), (30,), (4,), "pads=[1,0], strides=[2]"),
    conv((64, 128), (14, 14), (1, 1), "strides=[2,2]"),
    conv((96, 24), (1, 1), (1, 1)),
    conv((32, 16), (40, 40), (1, 1)),
    conv((16, 48), (5, 40), (3, 3), SAME),
]
FEW = [
    conv((40, 4), (9, 37), (3, 3), SAME),
    conv((40, 1), (9, 37), (1, 1)),
    conv((10, 3), (9, 37), (3, 3), "strides=[2,2], pads=[0,1,2,0]"),
    conv((18, 1), (20,), (3,), "pads=[1,1]"),
    grown((24, 1), (7, 9), (2, 2), "strides=[2,2]"),
    grown((20, 3), (7, 9), (4, 4), HALVED),
    grown((20, 3), (7, 9), (3, 3), "strides=[2,3], pads=[1,1,1,1]"),
    grown((2, 1), (5, 5), (2, 2), "strides=[17,18]"),
]
DEPTHWISE = [
    *(conv((24, 24), (15, 17), (k, k), f"strides=[{s},{s}], pads={[k // 2] * 4}", 24) for s in (1, 2) for k in (3, 5)),
    conv((40, 40), (7, 7), (3, 3), SAME, 40),
    conv((16, 16), (3, 3), (5, 5), "pads=[2,2,2,2]", 16),
    conv((18, 36), (9, 9), (3, 3), SAME, 18),
    conv((6, 24), (9, 9), (3, 3), SAME, 6),
    conv((6, 18), (9, 9), (3, 3), SAME, 6),
    conv((4, 128), (9, 9), (3, 3), SAME, 4),
    conv((32, 32), (9, 40), (3, 3), "dilations=[2,3], pads=[2,3,2,3]", 32),
    conv((32, 32), (50,), (7,), "pads=[3,3]", 32),
    conv((16, 16), (4, 4), (3, 3), "pads=[4,3,5,3]", 16),
]
GROUPED = [
    conv((32, 32), (9, 9), (3, 3), SAME, 2),
    conv((48, 48), (9, 9), (3, 3), SAME, 2),
    conv((64, 128), (9, 9), (3, 3), SAME, 16),
    conv((30, 60), (9, 9), (3, 3), SAME, 5),
    conv((4, 2), (9, 9), (3, 3), SAME, 2),
    conv((64, 192), (12, 12), (1, 1), "", 4),
    grown((16, 16), (7, 7), (4, 4), HALVED, 16),
    grown((32, 64), (7, 7), (3, 3), "strides=[2,2], pads=[1,1,1,1]", 2),
]
TRANSPOSED = [
    grown((24, 24), (7, 9), (2, 2), "strides=[2,2]"),
    grown((20, 33), (7, 9), (3, 3), HALVED),
    grown((20, 33), (7, 9), (3, 3), "strides=[2,2], pads=[1,1,1,1], output_padding=[1,1]"),
    grown((20, 18), (7, 9), (2, 5), "strides=[3,2]"),
    grown((20, 18), (7, 9), (3, 3), "strides=[1,2], dilations=[2,2], pads=[2,1,0,1]"),
    grown((16, 16), (20,), (4,), "strides=[2], pads=[1,1]"),
    grown((16, 17), (5, 5), (1, 1), "strides=[3,3]"),
    grown((16, 8), (5, 5), (3, 3), 'strides=[2,2], auto_pad="SAME_UPPER"'),
    grown((16, 8), (5, 5), (3, 3), 'strides=[2,2], auto_pad="SAME_LOWER"'),
    grown((16, 8), (5, 5), (3, 3), "strides=[2,2], output_shape=[10,11]"),
    grown((1, 8), (5, 5), (3, 3), "strides=[2,2]"),
]
CASES = {case.name: case for case in (*DENSE, *FEW, *DEPTHWISE, *GROUPED, *TRANSPOSED)}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return outcomes(tuple(CASES.values()), tmp_path_factory.mktemp("conv"))


@pytest.mark.parametrize("name", CASES)
def test_kernel_equals_the_oracle(results: Outcomes, name: str) -> None:
    outcome = results[name]
    assert outcome.found.shape == outcome.expected.shape
    assert metrics.sqnr_db(outcome.expected, outcome.found) >= 110


def test_no_node_is_left_to_the_importer(results: Outcomes) -> None:
    assert results.operators <= {"relax.call_tir", "relax.reshape"}
