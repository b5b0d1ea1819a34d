"""Sums of products in float16: runs of few products each, whose sums are added up in float32.

Rounding errors of a sum grow with its terms; in runs of `RUN` products they stay as small as those of one run (N. J.
Higham, "The Accuracy of Floating Point Summation", 1993). Sums in other types are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tvm.tirx.script import builder as T

from effc.backends.tvm.schedules.nest import Expr, Register, narrowed, number, register

RUN = 16
"""Products of a run."""
Sums = list[list[Register]]


def in_runs(dtype: str, products: int) -> bool:
    """Whether so many products need runs."""
    return dtype == "float16" and 2 * products > 3 * RUN


def unrolled(most: int, dtype: str) -> int:
    """Multiply-adds in an innermost loop's body.

    An ARM instruction takes a lane of float16 as its factor from the lower half of the registers alone: of a long body,
    LLVM spills more than it keeps.
    """
    return most * 2 // 5 if dtype == "float16" else most


def kept(dtype: str, products: int) -> str:
    """The type of a total."""
    return "float32" if in_runs(dtype, products) else dtype


def stretches(steps: int, products: int) -> tuple[int, int]:
    """(how many stretches, steps of each but the last) where each of `steps` sums `products`."""
    most = max(1, min(steps, RUN // products))
    each = next((e for e in range(most, most // 2, -1) if steps % e == 0), most)
    return -(-steps // each), each


def steps_of(stretch: Expr, each: int, steps: int) -> Expr | int:
    """How many steps a stretch has."""
    return each if steps % each == 0 else T.min(each, steps - stretch * each)


@contextmanager
def run_of(totals: Sequence[Sequence[Register]]) -> Iterator[Sums]:
    """Registers that begin with zero, and are added to the totals at the end."""
    fresh = [[register(total.lanes, "float16") for total in line] for line in totals]
    for line in fresh:
        for one in line:
            one.set(number(0.0, one.get()))
    yield fresh
    for own, total in zip((one for line in fresh for one in line), (t for line in totals for t in line), strict=True):
        total.set(total.get() + narrowed(own.get(), total.dtype))
