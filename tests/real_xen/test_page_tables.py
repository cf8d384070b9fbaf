"""Page tables, put together by hand from the Intel SDM's figures."""

from __future__ import annotations

import mmap
import struct

from real_xen.page_tables import PageTables

BASE = 0xFFFF_82D0_4020_0000
NX = 1 << 63


def tables(*entries: tuple[int, int]) -> PageTables:
    """Return tables: physical addresses of entries, and their values. The top-level table is at 0x1000."""
    memory = mmap.mmap(-1, 1 << 16)
    for address, value in entries:
        struct.pack_into("<Q", memory, address, value)
    memory[0x8000:0x8004] = b"page"
    return PageTables(memory, 0x1000)


# BASE: entry 261 of the top-level table, then 321, 1 and 0.
WAY = ((0x1000 + 8 * 261, 0x2003), (0x2000 + 8 * 321, 0x3003), (0x3000 + 8, 0x4003))


def test_a_small_page() -> None:
    found = tables(*WAY, (0x4000, 0x8000 | 1 | NX)).find(BASE + 2)
    assert found is not None
    assert (found.physical, found.permissions) == (0x8002, "r--")


def test_a_page_is_writable_only_if_all_levels_say_so() -> None:
    found = tables(WAY[0], (WAY[1][0], 0x3001), WAY[2], (0x4000, 0x8003)).find(BASE)
    assert found is not None
    assert found.permissions == "r-x"


def test_a_large_page() -> None:
    found = tables(*WAY[:2], (0x3000 + 8, 0x0083)).find(BASE + 0x8001)
    assert found is not None
    assert (found.physical, found.permissions) == (0x8001, "rwx")


def test_reading_ends_where_nothing_is_mapped() -> None:
    mapped = tables(*WAY, (0x4000, 0x8003))
    assert mapped.read(BASE, 4) == b"page"
    assert mapped.find(BASE + 0x1000) is None
    assert mapped.read(BASE + 0xFFE, 4) is None
