"""The machines that libraries are linked for, by the name that `uname -m` gives there."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from effc.core.errors import BadInput
from effc.core.target import Target


@dataclass(frozen=True)
class Machine:
    """A kind of machine.

    Attributes:
        name: as its kernel calls it; "android" is a 64-bit ARM with another C library.
        device: as targets spell it.
        compilers: prefixes of C compilers that make code for it.
        package: the Debian package that brings one; empty where there is none.
        zig: zig's name of the target.
        platform: the tag of the TVM wheels for it; empty where there are none.
    """

    name: str
    device: str
    compilers: tuple[str, ...]
    package: str
    zig: str
    platform: str = ""

    @property
    def native(self) -> bool:
        """Whether this process runs on such a machine."""
        return platform.machine() == self.name


_GLIBC = "2.28"
"""The C library that the TVM wheels ask for: what zig links is no newer."""

MACHINES = {
    machine.name: machine
    for machine in (
        Machine(
            "x86_64",
            "x86",
            ("x86_64-linux-gnu-",),
            "g++-x86-64-linux-gnu",
            f"x86_64-linux-gnu.{_GLIBC}",
            "manylinux_2_28_x86_64",
        ),
        Machine(
            "aarch64",
            "arm64",
            ("aarch64-linux-gnu-",),
            "g++-aarch64-linux-gnu",
            f"aarch64-linux-gnu.{_GLIBC}",
            "manylinux_2_28_aarch64",
        ),
        Machine("armv7l", "armv7", ("arm-linux-gnueabihf-",), "g++-arm-linux-gnueabihf", "arm-linux-gnueabihf"),
        Machine(
            "android", "android", ("aarch64-linux-android21-", "aarch64-linux-android24-"), "", "aarch64-linux-musl"
        ),
    )
}


def named(name: str) -> Machine:
    """The machine of that name. Raises BadInput where nothing is linked for it."""
    if name not in MACHINES:
        raise BadInput(f"nothing can be linked for {name!r}", hint=f"machines: {', '.join(MACHINES)}")
    return MACHINES[name]


def for_target(target: Target) -> Machine:
    """The machine that a target is for; without a device, this one."""
    found = (machine for machine in MACHINES.values() if machine.device == target.device)
    return next(found, None) or named(platform.machine())
