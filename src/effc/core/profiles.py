"""Which optimization profile covers the shapes of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from effc.core.errors import BadInput
from effc.core.options import Profile, ShapeRange

Shapes = Mapping[str, tuple[int, ...]]


def within(dims: Sequence[int], span: ShapeRange, start: int = 0) -> bool:
    """Whether min <= dim <= max holds for every dim from axis `start` on."""
    if len(dims) != len(span.min):
        return False
    bounds = list(zip(span.min, dims, span.max, strict=True))
    return all(low <= dim <= high for low, dim, high in bounds[start:])


def covers(profile: Profile, shapes: Shapes, start: int = 0) -> bool:
    """Whether a profile covers the shapes of all its inputs, from axis `start` on."""
    return all(within(shapes[name], span, start) for name, span in profile.items() if name in shapes)


def covering(profiles: Sequence[Profile], shapes: Shapes) -> int:
    """The number of the first profile that covers the shapes of all inputs; 0 where there are no profiles.

    Raises BadInput, which names the first input that stands in the way and what is covered.
    """
    found = next((number for number, profile in enumerate(profiles) if covers(profile, shapes)), None)
    if found is None and profiles:
        raise uncovered(profiles, shapes)
    return found or 0


def batches(profiles: Sequence[Profile], shapes: Shapes) -> list[tuple[int, int]]:
    """How many samples (least, most) one call takes, for each profile that covers all axes but the first.

    Raises BadInput where none does.
    """
    found = [_batches(profile) for profile in profiles if covers(profile, shapes, 1)]
    possible = [(least, most) for least, most in found if least <= most]
    if not possible:
        raise uncovered(profiles, shapes)
    return possible


def _batches(profile: Profile) -> tuple[int, int]:
    firsts = [(span.min[0], span.max[0]) for span in profile.values() if span.min]
    return max(least for least, _ in firsts), min(most for _, most in firsts)


def sizes(declared: Mapping[str, Sequence[int | str]], profiles: Sequence[Profile]) -> dict[str, int]:
    """The size that the first profile is tuned for, by the symbol of the dim.

    Args:
        declared: input name to its dims.
    """
    spans = profiles[0] if profiles else {}
    return {
        dim: size
        for name, dims in declared.items()
        if name in spans
        for dim, size in zip(dims, spans[name].opt, strict=False)
        if isinstance(dim, str)
    }


def uncovered(profiles: Sequence[Profile], shapes: Shapes) -> BadInput:
    """The error that no profile covers these shapes."""
    named = [name for name in shapes if any(name in profile for profile in profiles)]
    outside = [n for n in named if not any(n in p and within(shapes[n], p[n]) for p in profiles)]
    name = (outside or named)[0]  # each may be within some profile, and no profile cover all
    spans = "; ".join(dict.fromkeys(described(profile[name]) for profile in profiles if name in profile))
    what = f"no optimization profile covers input {name!r} with shape {written(shapes[name])}: built for {spans}"
    return BadInput(what, hint=f"feed it within, or build again with --shape-range {name}:MIN,OPT,MAX that covers it")


def described(span: ShapeRange) -> str:
    """As in `1x3x8x8 to 32x3x8x8`."""
    return f"{written(span.min)} to {written(span.max)}"


def written(dims: Sequence[int | str]) -> str:
    """As on the command line: `1x3x224x224`."""
    return "x".join(map(str, dims)) or "scalar"
