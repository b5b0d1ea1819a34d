"""What a CPU offers to the schedules: vectors, registers, integer dot products."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from effc.core.errors import BadInput
from effc.core.target import Target

Dot = Literal["vnni", "madd", "sdot", "i8mm", "neon"]
"""How four products of bytes are summed: `vpdpbusd`, AVX2's 16-bit `vpmaddwd`, ARM's `sdot`, `smmla`, `smlal`."""


@dataclass(frozen=True)
class Cpu:
    """A CPU as code is generated for it.

    Attributes:
        name: LLVM's name of it.
        triple: LLVM's target triple.
        features: LLVM's attributes beyond the name's, such as "+dotprod".
        bits: width of a vector register.
        registers: number of vector registers.
        dot: its integer dot product.
        half: whether it computes in float16.
        width: bits of the floats that a vector is counted in: 16 in libraries of float16.
    """

    name: str
    triple: str
    features: tuple[str, ...]
    bits: int
    registers: int
    dot: Dot
    half: bool = False
    width: int = 32

    @property
    def lanes(self) -> int:
        """Floats in a vector: the channel block of NCHWc."""
        return self.bits // self.width

    @property
    def unsigned(self) -> bool:
        """Whether its dot product takes unsigned bytes on one side: activations are then stored as q + 128."""
        return self.dot in ("vnni", "madd")

    @property
    def machine(self) -> str:
        """The architecture's name: "x86_64", "aarch64", "armv7l"."""
        first = self.triple.split("-")[0]
        return "armv7l" if first.startswith("armv7") else first

    @property
    def requires(self) -> tuple[str, ...]:
        """What it needs of a CPU, in the Linux kernel's words."""
        if self.machine == "x86_64":
            wide = ("avx512f", "avx512bw", "avx512dq", "avx512vl") if self.bits == 512 else ()
            vnni = ("avx512_vnni" if wide else "avx_vnni",) if self.dot == "vnni" else ()
            return ("avx2", "fma", "f16c", *wide, *vnni)
        named = {"+neon": "asimd", "+dotprod": "asimddp", "+fullfp16": "asimdhp", "+i8mm": "i8mm"}
        return tuple(named[f] for f in self.features if f in named) if self.machine == "aarch64" else ()


_X86 = "x86_64-unknown-linux-gnu"
_ARM64 = "aarch64-unknown-linux-gnu"


def _x86(name: str, *features: str, dot: Dot, wide: bool) -> Cpu:
    return Cpu(name, _X86, features, 512 if wide else 256, 32 if wide else 16, dot)


def _arm64(name: str, *features: str, dot: Dot, half: bool) -> Cpu:
    return Cpu(name, _ARM64, ("+neon", *features), 128, 32, dot, half)


X86 = {
    "x86-64-v3": _x86("x86-64-v3", dot="madd", wide=False),
    "haswell": _x86("haswell", dot="madd", wide=False),
    "znver3": _x86("znver3", dot="madd", wide=False),
    "alderlake": _x86("alderlake", "+avxvnni", dot="vnni", wide=False),
    "x86-64-v4": _x86("x86-64-v4", dot="madd", wide=True),
    "skylake-avx512": _x86("skylake-avx512", dot="madd", wide=True),
    "cascadelake": _x86("cascadelake", dot="vnni", wide=True),
    "icelake-server": _x86("icelake-server", dot="vnni", wide=True),
    "sapphirerapids": _x86("sapphirerapids", dot="vnni", wide=True),
    "znver4": _x86("znver4", dot="vnni", wide=True),
    "znver5": _x86("znver5", dot="vnni", wide=True),
}
ARM64 = {
    "cortex-a53": _arm64("cortex-a53", dot="neon", half=False),
    "cortex-a72": _arm64("cortex-a72", dot="neon", half=False),
    "cortex-a55": _arm64("cortex-a55", "+dotprod", "+fullfp16", dot="sdot", half=True),
    "cortex-a76": _arm64("cortex-a76", "+dotprod", "+fullfp16", dot="sdot", half=True),
    "neoverse-n1": _arm64("neoverse-n1", "+dotprod", "+fullfp16", dot="sdot", half=True),
    "neoverse-v1": _arm64("neoverse-v1", "+dotprod", "+fullfp16", "+i8mm", dot="i8mm", half=True),
}
HALF = tuple(name for name, cpu in ARM64.items() if cpu.half)
"""Those that compute in float16."""
ARMV7 = Cpu("cortex-a7", "armv7-unknown-linux-gnueabihf", ("+neon", "+vfp4"), 128, 16, "neon")


def for_target(target: Target) -> Cpu:
    """The CPU that a target names, its default device's, or this machine's. Raises BadInput where it is not x86-64."""
    suffix = target.suffixes[0] if target.suffixes else ""
    match target.device:
        case "x86":
            return X86[suffix] if suffix else host()
        case "armv7":
            return ARMV7
        case _:
            cpu = ARM64[suffix or "neoverse-n1"]
            return replace(cpu, width=16) if target.precision == "fp16" else cpu


@cache
def host() -> Cpu:
    """This machine's CPU, by the features that it lists."""
    if platform.machine() != "x86_64":
        raise BadInput(
            f"this machine is {platform.machine()}", where="--target", hint="name a CPU: tvm-x86-fp32:x86-64-v3"
        )
    flags = _flags()
    if {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= flags:
        name = "icelake-server" if {"avx512_vnni", "avx512_vbmi"} <= flags else "x86-64-v4"
        zen = "znver5" if "avx_vnni" in flags else "znver4"
        return X86[zen if "avx512_bf16" in flags and "sse4a" in flags else name]
    if {"avx2", "fma"} <= flags:
        return X86["alderlake" if "avx_vnni" in flags else "x86-64-v3"]
    raise BadInput("this CPU has no AVX2", where="--target", hint="name another: tvm-x86-fp32:x86-64-v3")


def _flags() -> frozenset[str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return frozenset(next((line.split(":")[1] for line in lines if line.startswith("flags")), "").split())
