"""Strings as C code finds them: up to the first NUL, wherever that is."""

from __future__ import annotations

MAX_NAME = 4096
"""Bytes of a name in memory that are looked at. No symbol of Xen's is nearly as long."""
SHOWN_NAME = 1024
"""Bytes of a name that are shown; a line of Xen's log takes no more."""
KEPT_NAME = SHOWN_NAME + 1
"""Bytes of a name in a file that are kept. A string table of the largest payload could otherwise give each of its
symbols a name of a megabyte."""


class UnterminatedString(bytes):
    """What can be read of a string that runs on into unmapped memory: reading all of it is a page fault."""

    __slots__ = ()


def string_at(table: bytes | bytearray, offset: int) -> bytes:
    """Return the NUL-terminated string at `offset` of a table, or its first `KEPT_NAME` bytes.

    A string that runs to the end of the table without a NUL is an `UnterminatedString`.
    """
    end = table.find(0, offset, offset + KEPT_NAME)
    if end >= 0:
        return bytes(table[offset:end])
    name = bytes(table[offset : offset + KEPT_NAME])
    return name if table.rfind(0) >= offset else UnterminatedString(name)


def runs_off(name: bytes, wanted: bytes) -> bool:
    """Tell whether comparing a name with `wanted`, byte by byte up to the first difference, leaves mapped memory."""
    return isinstance(name, UnterminatedString) and wanted.startswith(name)
