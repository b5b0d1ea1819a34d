"""`effc check` for people: the model, what it costs op by op, each target's share, and what stands in the way."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from effc.bench import report as tables
from effc.cli.render import out

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from effc.compiler.cost import Costs
    from effc.core.errors import Remark
    from effc.verbs.asked import TargetSupport
    from effc.verbs.check import CheckReport, Estimate

WANTED_SHARE = 0.95
"""The share of supported nodes that practitioners ask for before they try a target."""
NAMED = 3
"""Nodes of a group that are named; `--json` has all."""
_SPECIFIC = re.compile(r"'[^']*'|\(.*\)|\d+")
"""What differs between reasons of one kind."""


def check(report: CheckReport) -> None:
    """The whole report."""
    console = out()
    console.print(f"{report.source.name}: opset {report.source.opset}, {sum(report.ops.values())} nodes simplified")
    for kind, infos in (("input", report.inputs), ("output", report.outputs)):
        for info in infos:
            console.print(f"  {kind} {info.name}: {info.dtype} [{', '.join(map(str, info.shape))}]")
    if report.open:
        fixes = " ".join(f"--shape {each.fix}" for each in report.open)
        symbols = ", ".join(dict.fromkeys(name for each in report.open for name in each.symbols))
        console.print(f"  symbolic: {symbols}; to fix them, with your sizes in place of 1: {fixes}")
    _estimate(console, report.estimate)
    _targets(console, report.targets)


def _estimate(console: Console, estimate: Estimate) -> None:
    at = f", symbolic dims at {', '.join(sorted({str(size) for size in estimate.at.values()}))}" if estimate.at else ""
    if estimate.costs is None or estimate.memory is None:
        console.print(f"  cost and memory are not counted{at}: {estimate.error}")
        return
    found, memory = estimate.costs, estimate.memory
    parameters = f"{number(found.parameters)} parameters in {number(found.parameter_bytes, 'B')}"
    console.print(f"  {parameters}; {number(found.macs)} MACs, {number(found.flops)} FLOPs a run{at}")
    unsized = f", {memory.unsized} tensors of unknown size left out" if memory.unsized else ""
    peak = f"{number(memory.activations, 'B')} of other tensors at most, at {memory.node!r}{unsized}"
    console.print(f"  memory: {number(memory.weights, 'B')} of weights, {peak}")
    console.print(_ops(found))
    if uncounted := [f"{row.uncounted} {row.op}" for row in found.ops if row.uncounted]:
        console.print(f"  not counted, for want of a formula or of known shapes: {', '.join(uncounted)}")


def _ops(found: Costs) -> Table:
    table = tables.grid("op", ">nodes", ">parameters", ">MACs", ">FLOPs", ">share of MACs")
    for row in found.ops:
        share = f"{row.share:.1%}" if row.macs else "-"
        table.add_row(row.op, str(row.nodes), *map(_quantity, (row.parameters, row.macs, row.flops)), share)
    return table


def _quantity(count: int) -> str:
    return number(count) if count else "-"


def number(count: float, unit: str = "") -> str:
    """Three digits and a decimal prefix: 3.49 M, 14 MB, 12 B."""
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size * 0.9995:
            return f"{count / size:.3g} {prefix}{unit}"
    return f"{count:g} {unit}".rstrip()


def _targets(console: Console, targets: Sequence[TargetSupport]) -> None:
    table = tables.grid("target", ">nodes", ">supported", ">blockers", ">warnings", ">MACs in its precision", "")
    for target in targets:
        counts = (str(len(target.refusals)), str(len(target.cautions)))
        native = "-" if target.native is None else percent(target.native)
        table.add_row(target.target, str(target.nodes), percent(target.share), *counts, native, _verdict(target))
    console.print(table)
    asked = [target.target for target in targets]
    for target in targets:
        if target.error and not target.refusals:
            console.print(f"{target.target}: {target.error.splitlines()[0]}")
    _groups(console, "blocker", {t.target: t.refusals for t in targets})
    _groups(console, "warning", {t.target: t.cautions for t in targets})
    for line in dict.fromkeys(target.install for target in targets if target.install):
        names = [target.target for target in targets if target.install == line]
        console.print(f"to build {families(names, asked)}, which this check does not need: {line}")


def percent(share: float) -> str:
    """Rounded down, so that 100% means all."""
    return f"{math.floor(share * 1000 + 1e-9) / 10:g}%"


def _verdict(target: TargetSupport) -> str:
    words = ["blocked"] if target.blocked else []
    if target.share < WANTED_SHARE:
        words.append(f"below {WANTED_SHARE:.0%}")
    return ", ".join(words)


def _groups(console: Console, kind: str, told: Mapping[str, Sequence[Remark]]) -> None:
    """Remarks with the same reason together, and the targets that make the same ones."""
    shared: dict[str, list[str]] = {}
    for target, remarks in told.items():
        groups: dict[tuple[str, str], list[Remark]] = {}
        for remark in remarks:
            groups.setdefault((_SPECIFIC.sub("", remark.reason), remark.hint), []).append(remark)
        for group in groups.values():
            shared.setdefault(_described(group), []).append(target)
    for text, targets in shared.items():
        console.print(f"{kind}: {families(targets, list(told))}: {text}")


def _described(remarks: Sequence[Remark]) -> str:
    """One group: how many of which ops, where, why, and what to do."""
    ops, first = Counter(remark.op for remark in remarks), remarks[0]
    counted = ", ".join(f"{count} {op}" for op, count in ops.most_common())
    names = ", ".join(remark.node for remark in remarks[:NAMED])
    more = f" and {len(remarks) - NAMED} more" if len(remarks) > NAMED else ""
    hint = f"; hint: {first.hint}" if first.hint else ""
    return f"{counted} ({names}{more}): {first.reason}{hint}"


def families(names: Sequence[str], asked: Sequence[str]) -> str:
    """Names with a star for all of a backend's targets that were asked, or all of one precision."""
    for part in (0, -1):
        keys = {name: (name.split("-")[0], name.split("-")[part]) for name in asked}
        for key in dict.fromkeys(keys[name] for name in names if name in keys):
            all_of_key = [name for name in asked if keys[name] == key]
            if len(all_of_key) > 1 and set(all_of_key) <= set(names):
                star = f"{key[0]}-*" if part == 0 else f"{key[0]}-*-{key[1]}"
                names = [star if name == all_of_key[0] else name for name in names if name not in all_of_key[1:]]
    return ", ".join(names)
