"""The machine that this process runs on: CPU, its instruction sets, memory, versions of packages."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

X86_FLAGS = "avx2 fma f16c avx512f avx512bw avx512_vnni avx512_bf16 avx512_fp16 avx_vnni amx_int8"
ARM_FLAGS = "asimd asimddp asimdhp fphp i8mm bf16 sve sve2"


@cache
def _cpuinfo() -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo, empty where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def cpu_name() -> str:
    """The CPU's marketing name, else its architecture."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_flags() -> tuple[str, ...]:
    """Instruction sets that decide which kernels run, of those that this CPU has."""
    has = set((_cpuinfo().get("flags") or _cpuinfo().get("Features") or "").split())
    return tuple(flag for flag in f"{X86_FLAGS} {ARM_FLAGS}".split() if flag in has)


def cpus() -> tuple[int, ...]:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def memory_mb() -> int | None:
    """Physical memory in MB, None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000
    except (ValueError, OSError, AttributeError):
        return None


def peak_rss_mb() -> float:
    """This process's peak memory. Where the kernel tells, not from getrusage, which starts from the parent's peak."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    own = [float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")]
    return own[0] if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions by package name; absent packages are left out."""
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
