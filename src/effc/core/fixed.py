"""Start the child whose memory layout is the same every time: the kernel then does not randomize addresses.

Some compilers order what they emit by address, so that only so equal input gives equal bytes. Where the system forbids
it (a container's seccomp profile may), the child starts as any other.
"""

from __future__ import annotations

import ctypes
import os
import sys

ADDR_NO_RANDOMIZE = 0x0040000
"""`personality(2)`, Linux."""
_ASK = 0xFFFFFFFF


def main() -> None:
    """Become `effc.core.child` with the same arguments; the personality outlasts exec.

    `-P` keeps the working directory out of `sys.path`: the length of its name would shift memory.
    """
    allowed()
    os.environ["PYTHONHASHSEED"] = "0"
    os.execv(sys.executable, [sys.executable, "-P", "-m", "effc.core.child", *sys.argv[1:]])


def allowed() -> bool:
    """Fix the addresses of what this process becomes by exec; whether the system allows it."""
    personality = getattr(ctypes.CDLL(None), "personality", None)
    if personality is None or (current := personality(_ASK)) == -1:
        return False
    return bool(personality(current | ADDR_NO_RANDOMIZE) != -1)


def address() -> int:
    """Where the C library's heap hands out a block now."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    return int(libc.malloc(ctypes.c_size_t(4096)))


if __name__ == "__main__":
    main()
