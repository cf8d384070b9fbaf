"""Virtual memory as the processor sees it: x86-64 page tables, walked in a machine's physical memory.

Intel SDM volume 3, 4.5 (4-level paging): entries of 8 bytes, a physical address in bits 12 to 51.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import mmap

PAGE = 4096
PRESENT, WRITABLE, LARGE, NO_EXECUTE = 1 << 0, 1 << 1, 1 << 7, 1 << 63
ADDRESS = ((1 << 52) - 1) & ~(PAGE - 1)
SHIFTS = (39, 30, 21, 12)
_ENTRY = struct.Struct("<Q")


class Mapped(NamedTuple):
    """Where an address is in physical memory, and what may be done there."""

    physical: int
    permissions: str
    """As in `r-x`."""


class PageTables:
    """The address space that one top-level table describes."""

    def __init__(self, memory: mmap.mmap, top: int) -> None:
        """`top` is the physical address of the top-level table (CR3)."""
        self._memory = memory
        self._top = top & ADDRESS

    def find(self, address: int) -> Mapped | None:
        """Return where a virtual address is mapped to; None: it is not."""
        table = self._top
        writable, executable = True, True
        for shift in SHIFTS:
            place = table + (address >> shift & 511) * _ENTRY.size
            if place + _ENTRY.size > len(self._memory):
                return None
            (entry,) = _ENTRY.unpack_from(self._memory, place)
            if not entry & PRESENT:
                return None
            writable = writable and bool(entry & WRITABLE)
            executable = executable and not entry & NO_EXECUTE
            if shift == SHIFTS[-1] or (entry & LARGE and shift != SHIFTS[0]):
                within = address & (1 << shift) - 1
                physical = (entry & ADDRESS & ~((1 << shift) - 1)) + within
                return Mapped(physical, f"r{'w' if writable else '-'}{'x' if executable else '-'}")
            table = entry & ADDRESS
        return None

    def read(self, address: int, size: int) -> bytes | None:
        """Return bytes at a virtual address; None unless all are mapped."""
        parts = []
        while size:
            found = self.find(address)
            count = min(size, PAGE - address % PAGE)
            if found is None or found.physical + count > len(self._memory):
                return None
            parts.append(self._memory[found.physical : found.physical + count])
            address, size = address + count, size - count
        return b"".join(parts)
