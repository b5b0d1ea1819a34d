"""The suite's geometric means: which targets are compared, over which models."""

from __future__ import annotations

from rich.console import Console

from effc.verbs.suite import SuiteRow, means


def row(model: str, target: str, p50: float | None) -> SuiteRow:
    return SuiteRow(model, target, 1.0, p50_ms=p50)


def test_means_compare_equal_precisions_and_own_float() -> None:
    rows = [
        *(
            row("a", t, ms)
            for t, ms in (("ort-fp32", 1.0), ("tvm-x86-fp32", 2.0), ("ort-int8", 4.0), ("tvm-x86-int8", 1.0))
        ),
        *(
            row("b", t, ms)
            for t, ms in (("ort-fp32", 1.0), ("tvm-x86-fp32", 8.0), ("ort-int8", None), ("tvm-x86-int8", 2.0))
        ),
    ]
    console = Console(width=120, highlight=False)
    with console.capture() as captured:
        console.print(means(rows))
    lines = [line.split() for line in captured.get().splitlines() if line.startswith(("ort-", "tvm-"))]
    assert ["tvm-x86-fp32", "ort-fp32", "4.000", "8.000", "2"] in lines
    assert ["tvm-x86-int8", "ort-int8", "0.250", "0.250", "1"] in lines
    assert ["tvm-x86-int8", "tvm-x86-fp32", "0.354", "0.500", "2"] in lines
    assert not any(line[:2] == ["tvm-x86-int8", "ort-fp32"] for line in lines)
