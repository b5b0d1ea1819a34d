"""Targets: spelling, folders, lists."""

from __future__ import annotations

import pytest

from effc.core.errors import BadInput
from effc.core.target import Target, parse_targets

SPELLINGS = [
    ("tflite-int8", Target("tflite", "int8"), "tflite-int8"),
    ("tvm-arm64-fp16", Target("tvm", "fp16", "arm64"), "tvm-arm64-fp16"),
    ("tvm-x86-int8:znver4", Target("tvm", "int8", "x86", ("znver4",)), "tvm-x86-int8-znver4"),
    ("rtx-int8:sm89+sm120", Target("rtx", "int8", "", ("sm89", "sm120")), "rtx-int8-sm89-sm120"),
]


@pytest.mark.parametrize(("text", "target", "folder"), SPELLINGS)
def test_spelling(text: str, target: Target, folder: str) -> None:
    assert Target.parse(text) == target
    assert str(target) == text
    assert target.folder == folder


@pytest.mark.parametrize("text", ["", "tflite", "TFLite-int8", "a-b-c-d", "a-b:", "a-b:c+", "../x-y", "a b-c", "-int8"])
def test_misspelling(text: str) -> None:
    with pytest.raises(BadInput):
        Target.parse(text)


@pytest.mark.parametrize(
    ("text", "names"),
    [("a-b", ["a-b"]), (" a-b , c-d,", ["a-b", "c-d"]), ("a-b,c-d,a-b", ["a-b", "c-d"]), ("a-b:x+x,a-b:x", ["a-b:x"])],
)
def test_list(text: str, names: list[str]) -> None:
    assert [str(target) for target in parse_targets(text)] == names


@pytest.mark.parametrize("text", ["", ",", " , "])
def test_empty_list(text: str) -> None:
    with pytest.raises(BadInput):
        parse_targets(text)


@pytest.mark.parametrize(
    ("precision", "quantized"),
    [("fp32", False), ("fp16", False), ("dynamic", False), ("int8", True), ("int16x8", True), ("best", True)],
)
def test_quantized(precision: str, quantized: bool) -> None:
    assert Target("x", precision).quantized is quantized
