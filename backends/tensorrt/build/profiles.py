"""Optimization profiles: from what the model declares and the user names to the dims that an engine is built for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from effc.core.errors import BadInput
from effc.core.manifest import TensorInfo
from effc.core.options import Profile, ShapeRange
from effc.core.profiles import written

BATCH = (1, 1, 32)
"""What an unnamed first dim covers: min, opt, max."""
OPTION = "--shape-range"
Span = tuple[int, int, int]


def complete(inputs: Sequence[TensorInfo], given: Sequence[Profile]) -> tuple[Profile, ...]:
    """A range for every input with a symbolic dim, in every profile; none where all inputs are fixed.

    A symbol that several inputs share covers the same everywhere; a first dim that nothing states covers BATCH.

    Raises:
        BadInput: a range names no input, has another rank, contradicts a fixed dim, another input or itself, or is
            absent for a dim that is not the first.
    """
    known = {info.name: info for info in inputs}
    for profile in given:
        for name, span in profile.items():
            _check(known, name, span)
    dynamic = [info for info in inputs if _symbols(info)]
    if not dynamic:
        return ()
    return tuple(_one(dynamic, profile) for profile in given or ({},))


def _one(dynamic: Sequence[TensorInfo], given: Profile) -> Profile:
    """One whole profile."""
    spans: dict[str, Span] = {}
    for info in dynamic:
        if info.name in given:
            _bind(spans, info, given[info.name])
    for info in dynamic:  # after all that is stated: only then is a first dim known to be free
        if info.name not in given and isinstance(info.shape[0], str) and info.shape[0] not in spans:
            spans[_key(info, 0)] = BATCH
    return {info.name: given.get(info.name) or _derived(info, spans) for info in dynamic}


def _bind(spans: dict[str, Span], info: TensorInfo, span: ShapeRange) -> None:
    """Remember what each symbol of a stated range covers."""
    for axis, found in enumerate(_spans(span)):
        if isinstance(info.shape[axis], str) and spans.setdefault(_key(info, axis), found) != found:
            symbol, other = info.shape[axis], spans[_key(info, axis)]
            what = f"dim {symbol!r} covers {_dims(found)} here, and {_dims(other)} in another input of the same profile"
            raise BadInput(what, where=f"{OPTION} {info.name}", hint="give both the same range")


def _derived(info: TensorInfo, spans: Mapping[str, Span]) -> ShapeRange:
    """The range of an input that none is stated for."""
    found = [(d, d, d) if isinstance(d, int) else spans.get(_key(info, axis)) for axis, d in enumerate(info.shape)]
    if None in found:
        symbols = ", ".join(str(info.shape[axis]) for axis, span in enumerate(found) if span is None)
        what = f"input {info.name!r} has shape {_declared(info)}, and nothing says which sizes {symbols} takes"
        raise BadInput(what, where=OPTION, hint=f"{suggestion(info)} with a number for each ? ({symbols})")
    low, best, high = zip(*(span for span in found if span is not None), strict=True)
    return ShapeRange(low, best, high)


def suggestion(info: TensorInfo) -> str:
    """The option to write for an input; ? stands for a size that its own dims do not tell."""
    ranges = (
        [d if isinstance(d, int) else batch if axis == 0 else "?" for axis, d in enumerate(info.shape)]
        for batch in BATCH
    )
    return f"{OPTION} {info.name}:{','.join(written(dims) for dims in ranges)}"


def _check(known: Mapping[str, TensorInfo], name: str, span: ShapeRange) -> None:
    """Raise BadInput for a range that cannot be meant."""
    where = f"{OPTION} {name}"
    if name not in known:
        raise BadInput(f"the model has no input {name!r}", where=where, hint=f"its inputs: {', '.join(known)}")
    info = known[name]
    for dims in (span.min, span.opt, span.max):
        if len(dims) != len(info.shape):
            what = f"{written(dims)} has {len(dims)} dims, the input has {len(info.shape)}: {_declared(info)}"
            raise BadInput(what, where=where, hint=suggestion(info))
    for axis, (low, best, high) in enumerate(_spans(span)):
        fixed = info.shape[axis]
        if not 1 <= low <= best <= high:
            what = f"dim {axis} runs from {low} by {best} to {high}, which is not 1 <= MIN <= OPT <= MAX"
            raise BadInput(what, where=where, hint=suggestion(info))
        if isinstance(fixed, int) and (low, high) != (fixed, fixed):
            what = f"dim {axis} covers {low} to {high}, and the model fixes it at {fixed}: {_declared(info)}"
            raise BadInput(what, where=where, hint=suggestion(info))


def _declared(info: TensorInfo) -> str:
    """As `effc check` prints it: a symbol's name may hold an x."""
    return f"[{', '.join(map(str, info.shape))}]"


def _spans(span: ShapeRange) -> list[Span]:
    return list(zip(span.min, span.opt, span.max, strict=True))


def _symbols(info: TensorInfo) -> bool:
    return any(isinstance(dim, str) for dim in info.shape)


def _key(info: TensorInfo, axis: int) -> str:
    """The symbol, or for an anonymous dim one that no other has."""
    dim = info.shape[axis]
    return f"{info.name}[{axis}]" if dim == "?" else str(dim)


def _dims(span: Span) -> str:
    return ", ".join(map(str, span))
