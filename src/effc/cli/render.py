"""Reports for people: a few lines and tables on stdout."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from effc.bench import report as tables

if TYPE_CHECKING:
    from effc.bench.measure import BenchReport
    from effc.build import BuildReport, TargetReport
    from effc.core.manifest import Calibration
    from effc.finish import FinishReport
    from effc.verbs.doctor import Diagnosis
    from effc.verbs.quantize import QuantizeReport
    from effc.verbs.run import RunReport
    from effc.verbs.simplify import SimplifyReport
    from effc.verbs.targets import TargetListing
    from effc.verbs.verify import VerifyReport
    from effc.verbs.zoo import FetchedModel, MadeData, ZooListing

_WIDE = 160


def out() -> Console:
    """stdout as it is now; where it is no terminal lines are wide, so that nothing is cut."""
    width = None if sys.stdout.isatty() else _WIDE
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, soft_wrap=False)


def warn(warnings: Iterable[str]) -> None:
    """One line each on stderr."""
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def build(report: BuildReport) -> None:
    """One row a target, then its errors and scores; failures go to stderr."""
    console = out()
    title = f"{report.source.name}: {report.nodes} nodes simplified"
    console.print(title + (f", calibrated with {_samples(report.calibration)}" if report.calibration else ""))
    for target in report.targets:
        _built(console, target, dry=report.dry_run)
    if not report.dry_run:
        console.print("stages: " + ", ".join(f"{name} {taken:.1f} s" for name, taken in report.seconds.items()))


def _built(console: Console, target: TargetReport, *, dry: bool) -> None:
    if target.failure is not None:
        sys.stdout.flush()
        message = target.failure.message
        named = message if target.target in message else f"{target.target}: {message}"
        print(f"error ({target.failure.kind}): {named}", file=sys.stderr)
    if dry and target.failure is None:
        how = "sealed" if target.sealed else "built"
        console.print(f"{target.target}: would be {how} into {target.artifact}")
    if target.sealed:
        console.print(f"{target.target}: sealed; on the machine that it is for: effc build {target.artifact}")
    elif target.verification is not None:
        console.print(f"{target.target}: {target.artifact}, {target.bytes / 1e6:.2f} MB")
    if target.verification is not None:
        console.print(tables.errors(target.verification))
        console.print(f"  {tables.score(target.verification)}")
    if target.kept:
        console.print(f"  {target.kept} nodes stay in float32; `effc explain {target.artifact}` says why")


def finish(report: FinishReport) -> None:
    """The artifact that the package became."""
    console = out()
    console.print(f"{report.source}: package {'can be finished' if report.dry_run else 'finished'}")
    _built(console, report.target, dry=report.dry_run)


def _samples(stated: Calibration) -> str:
    return f"{stated.samples} samples of {stated.data}, {stated.method}"


def simplify(report: SimplifyReport) -> None:
    """Ops before and after, the steps, and what is known of equality."""
    console = out()
    console.print(_counts(report.before, report.after))
    for fault in report.switched_off:
        console.print(f"switched off: {fault.step}: {fault.reason}")
    if report.beyond:
        console.print(f"larger than --max-growth allows, by {report.beyond} bytes: nothing is left to leave out")
    proof = _proof(report.proof.worst_sqnr_db) if report.proof else "not proved"
    size = f"{report.bytes_after / 1e6:.2f} MB of {report.bytes_before / 1e6:.2f}"
    console.print(
        f"{report.output}: {proof}, opset {report.opset}, {size}, {len(report.steps)} steps changed the graph"
    )


def _proof(worst_sqnr_db: float) -> str:
    return "outputs equal" if math.isinf(worst_sqnr_db) else f"outputs equal to {worst_sqnr_db:.0f} dB"


def _counts(before: Mapping[str, int], after: Mapping[str, int]) -> Table:
    table = tables.grid("op", ">before", ">after")
    for op in sorted({*before, *after}):
        table.add_row(op, str(before.get(op, 0)), str(after.get(op, 0)))
    table.add_row("total", str(sum(before.values())), str(sum(after.values())))
    return table


def quantize(report: QuantizeReport) -> None:
    """What was written and from what."""
    share = f"{report.quantized} of {len(report.precision)} nodes quantized"
    out().print(f"{report.output}: {share} by the scheme of {report.target} ({_samples(report.calibration)})")


def verify(report: VerifyReport) -> None:
    """Errors of each output, then the score."""
    console = out()
    console.print(f"{report.target} ({report.artifact})")
    console.print(tables.errors(report.verification))
    console.print(tables.score(report.verification))


def bench(report: BenchReport) -> None:
    """One row an artifact."""
    first = report.results[0]
    console = out()
    console.print(f"{first.device}, {first.threads} thread(s), batch {first.batch}")
    console.print(tables.latencies(report.results))


def run(report: RunReport) -> None:
    """The outputs that were written."""
    shapes = (f"{row.name} {row.dtype} [{', '.join(map(str, row.shape))}]" for row in report.outputs)
    out().print(f"{report.output}: {'; '.join(shapes)}")


def targets(listing: TargetListing) -> None:
    """One row a target."""
    table = tables.grid("target", "builds here", "what it is")
    for row in listing.targets:
        table.add_row(row.name, "yes" if row.available else f"no: {row.install}", row.summary)
    out().print(table)


def doctor(diagnosis: Diagnosis) -> None:
    """The machine, the packages, the backends."""
    console = out()
    console.print(f"effc {diagnosis.effc}, Python {diagnosis.python}, {diagnosis.system}")
    console.print(
        f"{diagnosis.cpu}: {diagnosis.cpus} CPU(s), {diagnosis.memory_mb} MB, {' '.join(diagnosis.cpu_flags)}"
    )
    console.print("  " + ", ".join(f"{name} {version}" for name, version in diagnosis.packages.items()))
    if diagnosis.missing:
        console.print(f"  missing: pip install {' '.join(diagnosis.missing)}")
    for row in diagnosis.backends:
        versions = ", ".join(f"{name} {version}" for name, version in row.versions.items())
        console.print(
            f"  backend {row.name}: " + (f"ready ({versions})" if row.available else f"missing: {row.install}")
        )


def zoo_list(listing: ZooListing) -> None:
    """One row a model."""
    table = tables.grid("name", "package", "task", "licence", "data")
    for row in listing.models:
        table.add_row(row.name, row.package or "(zoo folder)", row.task, row.licence, "yes" if row.data else "no")
    out().print(table)


def zoo_fetch(fetched: FetchedModel) -> None:
    """Where the model is."""
    out().print(f"{fetched.path}: {fetched.name}, {fetched.bytes / 1e6:.2f} MB, sha256 {fetched.sha256[:16]}...")


def zoo_data(made: MadeData) -> None:
    """Where the samples are."""
    out().print(f"{made.path}: {made.count} samples of {made.name}, {made.split}")
