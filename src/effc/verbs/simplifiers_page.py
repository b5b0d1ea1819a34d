"""docs/simplifier.md: what `effc.verbs.simplifiers` found, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata

from effc.bench.peers.comparison import Comparison, Length, Result, Row, means
from effc.bench.peers.simplifiers import LENGTH_DEADLINE_S
from effc.core import host

_LIGHT = "light_"
_HEAD = """# Simplifiers side by side

`make bench-simplify` writes this page. Each figure is `nodes (seconds)`: nodes of the file that the simplifier wrote,
subgraphs included and Constant nodes not, and the wall time of its whole process on {cpu}, median of {rounds} rounds in
which they take turns. effc runs with `--no-proof` there, since no peer proves its output.

A result counts when the file is at most 1 % larger than the original, holds no op of a domain that the original does
not, and gives the same outputs: SQNR of 90 dB in ONNX Runtime on seeded inputs, integers equal. Marks of what does not
count: `>` larger, `!` foreign domain or other outputs, `-` no file. `?`: the original itself cannot be run on such
inputs, so that outputs were not compared. `best` is the lowest count of a peer whose result counts. The `light`
networks of the onnx package hold their weights as ConstantOfShape nodes; folded, the file is many times as large, so
they stand here twice: by the rule, and with outputs of any size (`--max-growth any`).

{versions}.
"""


def page(found: Comparison) -> str:
    """The whole page."""
    told = ("effc", "onnx", "onnxruntime")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in told)
    parts = [_HEAD.format(cpu=host.cpu_name(), rounds=found.rounds, versions=versions)]
    parts += [_nodes(found.rows), _means(found.rows), _notes(found.rows), _sizes(found.rows)]
    parts += [_lengths(found.lengths)] if found.lengths else []
    parts += [_node_tests(found.node_tests)] if found.node_tests else []
    parts += [found.large_run] if found.large_run else []
    return "\n".join(parts)


def line(row: Row) -> str:
    """One row for the terminal, as it comes."""
    results = " | ".join(f"{each.name} {_cell(each, row.limit)}" for each in (*row.others, row.own))
    return f"{row.model}: {row.nodes} nodes | {results}{_verdict(row)}"


def _verdict(row: Row) -> str:
    return " | LOST" if row.lost else ""


def _cell(result: Result, limit: float) -> str:
    if result.verdict is None:
        return "-"
    mark = "!" if result.verdict.faults else ">" if result.verdict.growth > limit else ""
    mark += "?" if result.verdict.unproved else ""
    return f"{result.verdict.nodes}{mark} ({result.seconds:.1f})"


def _nodes(rows: Sequence[Row]) -> str:
    names = [result.name for result in rows[0].others]
    body = (
        (row.model, str(row.nodes), *(_cell(r, row.limit) for r in (*row.others, row.own)), _text(row.best), _lost(row))
        for row in rows
    )
    return _table(("model", "nodes in", *names, "effc", "best", "lost"), body)


def _lost(row: Row) -> str:
    return "lost" if row.lost else ""


def _means(rows: Sequence[Row]) -> str:
    """Rows that are not lost, and mean seconds of the light networks and of real models, where all gave a file."""
    lines = [f"{sum(not row.lost for row in rows)} of {len(rows)} rows are no worse than the best peer.", ""]
    for title, are_light in (("light networks", True), ("real models", False)):
        found = means(row for row in rows if row.model.startswith(_LIGHT) == are_light)
        told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found.items())
        lines += [f"Mean wall time, {title}: {told}.", ""] if told else []
    return "\n".join(lines)


def _notes(rows: Iterable[Row]) -> str:
    """Why a result does not count, one line each, larger files aside."""
    lines = [f"- {row.model}, {r.name}: {why}" for row in rows for r in (*row.others, row.own) if (why := _why(r))]
    return "\n".join(("## Why some do not count", "", *dict.fromkeys(lines), ""))


def _why(result: Result) -> str:
    if result.verdict is None:
        return result.failure
    return "; ".join((*result.verdict.faults, *filter(None, (result.verdict.unproved,))))


def _sizes(rows: Sequence[Row]) -> str:
    """kB of every file."""
    names = [result.name for result in rows[0].others]
    body = ((row.model, _kilo(row.bytes), *(_size(r) for r in (*row.others, row.own))) for row in rows)
    return "## kB\n\n" + _table(("model", "in", *names, "effc"), body)


def _size(result: Result) -> str:
    return "-" if result.verdict is None else _kilo(result.verdict.bytes)


def _kilo(count: int) -> str:
    return f"{count / 1e3:.1f}"


def _lengths(lengths: Sequence[Length]) -> str:
    names = list(lengths[0].seconds)
    body = (
        (each.shape, str(each.nodes), _text(each.after), *(_seconds(each.seconds.get(name)) for name in names))
        for each in lengths
    )
    told = f"Generated graphs; seconds of one run, `-` where it failed or took over {LENGTH_DEADLINE_S:.0f} s."
    title = f"## Time over length\n\n{told}\n\n"
    return title + _table(("graph", "nodes in", "effc's nodes", *names), body)


def _node_tests(counts: Mapping[str, int]) -> str:
    """The exceptions themselves stand in the tests, each with its reason."""
    told = "\n".join(f"- {count}: {kind}" for kind, count in counts.items())
    title = f"## ONNX's node tests\n\nAll {sum(counts.values())}, through `effc simplify` and back to their opset:\n\n"
    return f"{title}{told}\n\n`tests/compiler/node_exceptions.txt` names those that are not equal, with the reasons.\n"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _text(value: int | None) -> str:
    return "-" if value is None else str(value)


def _table(heads: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    return "\n".join(_lines(heads, body)) + "\n"


def _lines(heads: Sequence[str], body: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    yield from (f"| {' | '.join(cells)} |" for cells in body)
