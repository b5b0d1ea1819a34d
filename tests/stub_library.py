"""A shared library for x86-64 Linux that defines functions which only return: enough to satisfy a loader.

Written byte by byte after the ELF specification, so that the test needs no compiler. Two pages: a read-only one with
headers, symbols, their hash table and one `ret`; a writable one with the dynamic section, which loaders relocate.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

_PAGE = 0x1000
_SHARED, _X86_64 = 3, 62
_LOAD, _DYNAMIC = 1, 2
_READ_EXECUTE, _READ_WRITE = 5, 6
_GLOBAL_FUNCTION, _SOME_SECTION = 0x12, 1
_HASH, _STRTAB, _SYMTAB, _STRSZ, _SYMENT, _SONAME = 4, 5, 6, 10, 11, 14
_RETURN = b"\x31\xc0\xc3"  # xor eax, eax; ret
_HEADER, _SEGMENT, _SYMBOL = 64, 56, 24


def write(path: Path, functions: Sequence[str]) -> None:
    """Write a library of the name `path.name` whose functions all return 0."""
    names = [path.name, *functions]
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    offsets = [strings.index(name.encode() + b"\0") for name in names]
    symbols_at = _HEADER + 3 * _SEGMENT
    hash_at = symbols_at + _SYMBOL * (len(functions) + 1)
    code_at = hash_at + 4 * (3 + len(functions) + 1)
    strings_at = code_at + len(_RETURN)
    symbols = bytes(_SYMBOL) + b"".join(
        struct.pack("<IBBHQQ", offset, _GLOBAL_FUNCTION, 0, _SOME_SECTION, code_at, len(_RETURN))
        for offset in offsets[1:]
    )
    dynamic = b"".join(
        struct.pack("<QQ", tag, value)
        for tag, value in (
            (_SONAME, offsets[0]),
            (_HASH, hash_at),
            (_STRTAB, strings_at),
            (_SYMTAB, symbols_at),
            (_STRSZ, len(strings)),
            (_SYMENT, _SYMBOL),
            (0, 0),
        )
    )
    text = strings_at + len(strings)
    head = _elf_header() + _segments(text, len(dynamic))
    path.write_bytes((head + symbols + _chain(len(functions)) + _RETURN + strings).ljust(_PAGE, b"\0") + dynamic)


def _elf_header() -> bytes:
    identity = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)  # 64 bit, little endian, version 1
    sizes = (_HEADER, _SEGMENT, 3, 64, 0, 0)  # no section headers
    return identity + struct.pack("<HHIQQQIHHHHHH", _SHARED, _X86_64, 1, 0, _HEADER, 0, 0, *sizes)


def _segments(text: int, dynamic: int) -> bytes:
    """The page to read and run, the page to write, and what in the latter is the dynamic section."""
    rows = (
        (_LOAD, _READ_EXECUTE, 0, text),
        (_LOAD, _READ_WRITE, _PAGE, dynamic),
        (_DYNAMIC, _READ_WRITE, _PAGE, dynamic),
    )
    return b"".join(
        struct.pack("<IIQQQQQQ", kind, flags, at, at, at, size, size, 8 if kind == _DYNAMIC else _PAGE)
        for kind, flags, at, size in rows
    )


def _chain(count: int) -> bytes:
    """The hash table of one bucket: every symbol is followed by the next, and the last by none."""
    follow = [0, *range(2, count + 1), 0] if count else [0]
    return struct.pack(f"<III{count + 1}I", 1, count + 1, 1 if count else 0, *follow)
