"""Bench and accuracy figures as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from effc.bench.measure import BenchResult, Latency
    from effc.core.manifest import Verification


def grid(*columns: str, title: str = "") -> Table:
    """A plain table; columns whose heading starts with `>` are flush right."""
    table = Table(box=None, title=title or None, title_justify="left", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    return table


def latencies(results: Sequence[BenchResult]) -> Table:
    """Latency percentiles in ms, throughput, memory, delegated share; `x first` is the ratio to the first row.

    Where a GPU ran, also the medians of the kernels and of the copies on its own clock.
    """
    heads = ("artifact", ">p50 ms", ">p90", ">p99", ">min", ">x first", ">per s", ">RSS MB", ">delegated", ">file MB")
    gpu = any(r.gpu_ms is not None for r in results)
    table = grid(*heads, *((">GPU ms", ">copies ms", "device") if gpu else ()))
    for r in results:
        ms = r.latency_ms
        times = (f"{value:.3f}" for value in (ms.p50, ms.p90, ms.p99, ms.min))
        rest = (f"{r.ratio:.3f}", f"{r.throughput_per_s:.1f}", number(r.peak_rss_mb, 0), percent(r.delegated))
        on_gpu = (_median(r.gpu_ms), _median(r.copies_ms), r.device) if gpu else ()
        table.add_row(r.artifact, *times, *rest, f"{r.file_bytes / 1e6:.2f}", *on_gpu)
    return table


def _median(latency: Latency | None) -> str:
    return number(None if latency is None else latency.p50, 3)


def errors(verification: Verification) -> Table:
    """One row an output."""
    table = grid("output", ">max abs", ">SQNR dB", ">cosine", ">KL")
    for output in verification.outputs:
        sqnr = "equal" if output.sqnr_db is None else f"{output.sqnr_db:.1f}"
        table.add_row(output.name, f"{output.max_abs:.3g}", sqnr, f"{output.cosine:.6f}", f"{output.kl:.2e}")
    return table


def score(verification: Verification) -> str:
    """Samples, agreement and top-1 in one line."""
    parts = [f"{verification.samples} samples of {verification.data or 'reference data'}"]
    if verification.of == "typed-onnx":
        parts.append("run as typed ONNX on the CPU, since the artifact cannot run here")
    if verification.agreement is not None:
        parts.append(f"same class in {verification.agreement:.2%}")
    if verification.top1 is not None:
        drop = 100 * (verification.top1.float - verification.top1.artifact)
        tops = f"top-1 float {verification.top1.float:.2%}, artifact {verification.top1.artifact:.2%}"
        parts.append(f"{tops} ({drop:+.2f} points lost)")
    return "; ".join(parts)


def number(value: float | None, digits: int) -> str:
    """The number, or a dash where it is not known."""
    return "-" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A share 0..1 in percent, or a dash where it is not known."""
    return "-" if value is None else f"{value:.0%}"
