"""Which optimization profile covers the shapes of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from effc.core.errors import BadInput
from effc.core.options import Profile, ShapeRange

Shapes = Mapping[str, tuple[int, ...]]


def within(dims: Sequence[int], span: ShapeRange, start: int = 0) -> bool:
    """Whether min <= dims <= max holds for every dim from `start` on."""
    inside = (low <= dim <= high for low, dim, high in zip(span.min, dims, span.max, strict=True))
    return len(dims) == len(span.min) and all(list(inside)[start:])


def covering(profiles: Sequence[Profile], shapes: Shapes) -> int:
    """The number of the first profile that covers the shapes of all inputs; 0 where there are no profiles.

    Raises BadInput, which names the first input that stands in the way and what is covered.
    """
    for number, profile in enumerate(profiles):
        if all(within(shapes[name], span) for name, span in profile.items() if name in shapes):
            return number
    if not profiles:
        return 0
    raise uncovered(profiles, shapes)


def uncovered(profiles: Sequence[Profile], shapes: Shapes) -> BadInput:
    """The error that no profile covers these shapes."""
    outside = [n for n in shapes if not any(n in p and within(shapes[n], p[n]) for p in profiles)]
    name = next((n for n in outside if any(n in p for p in profiles)), next(iter(shapes)))
    spans = "; ".join(dict.fromkeys(described(profile[name]) for profile in profiles if name in profile))
    what = f"no optimization profile covers input {name!r} with shape {written(shapes[name])}: built for {spans}"
    return BadInput(what, hint=f"feed it within, or build again with --shape-range {name}:MIN,OPT,MAX that covers it")


def described(span: ShapeRange) -> str:
    """As in `1x3x8x8 to 32x3x8x8`."""
    return f"{written(span.min)} to {written(span.max)}"


def written(dims: Sequence[int | str]) -> str:
    """As on the command line: `1x3x224x224`."""
    return "x".join(map(str, dims)) or "scalar"
