"""`effc explain` for people: shares, then what is slow, then what to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effc.bench import report as tables
from effc.cli.render import out

if TYPE_CHECKING:
    from rich.console import Console

    from effc.backends.explanation import Explanation, Kind, Share
    from effc.verbs.explain import ExplainReport

LIMIT = 12
"""Rows of a kind that are shown; `--json` has all."""


def explain(report: ExplainReport) -> None:
    """The whole report."""
    console, told = out(), report.explanation
    console.print(f"{report.source}: {report.target + ', ' if report.target else ''}{_layered(len(told.layers))}")
    console.print(f"  {told.basis}")
    for precision, share in told.shares.items():
        console.print(f"  {precision}: {_share(share)}")
    _kinds(console, told.kinds)
    _layers(console, told)
    _rest(console, told)
    if told.verdict:
        console.print(told.verdict)
    for number, text in enumerate(told.advice, 1):
        console.print(f"{number}. {text}")


def _share(share: Share) -> str:
    time = "" if share.time is None else f", {share.time:.1%} of the time"
    return f"{_layered(share.layers)}{time}"


def _layered(count: int) -> str:
    return f"{count} layer{'s' if count != 1 else ''}"


def _kinds(console: Console, kinds: tuple[Kind, ...]) -> None:
    if not kinds:
        return
    table = tables.grid("kind", ">layers", ">ms", ">in float32")
    for kind in kinds:
        table.add_row(kind.kind, str(kind.layers), f"{kind.ms:.3f}", _ms(kind.float_ms))
    console.print(table)


def _layers(console: Console, told: Explanation) -> None:
    """The slowest, where times are known, else those with a note."""
    timed = [layer for layer in told.layers if layer.ms is not None]
    rows = sorted(timed, key=lambda layer: -(layer.ms or 0.0)) or [layer for layer in told.layers if layer.note]
    if not rows:
        return
    table = tables.grid("layer", "op", "precision", ">ms", ">in float32", "note")
    for layer in rows[:LIMIT]:
        table.add_row(layer.name, layer.op, layer.precision, _ms(layer.ms), _ms(layer.float_ms), layer.note)
    console.print(table)
    _more(console, len(rows))


def _rest(console: Console, told: Explanation) -> None:
    """Reformats and what is not fused."""
    if told.reformats:
        table = tables.grid("reformat", "from", "to", ">kB", ">ms")
        for row in sorted(told.reformats, key=lambda r: -(r.bytes or 0))[:LIMIT]:
            size = "-" if row.bytes is None else f"{row.bytes / 1e3:.1f}"
            table.add_row(row.name, row.source, row.target, size, _ms(row.ms))
        console.print(table)
        _more(console, len(told.reformats))
    for item in told.unfused[:LIMIT]:
        console.print(f"  {item.node}: {item.reason}")
    _more(console, len(told.unfused))


def _more(console: Console, count: int) -> None:
    if count > LIMIT:
        console.print(f"  ... and {count - LIMIT} more (--json has all)")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
