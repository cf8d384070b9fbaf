"""The final allocator: the vectors of spec/02 §6.5, and a model of a few lines."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsplice_loader.memory.vmap import Bitmap, XenVmap

PAGE = 4096
ARENA = (0xFFFF82D040800000, 0xFFFF82D07FEFE000)


def test_the_vectors() -> None:
    region = Bitmap(*ARENA)
    assert (region.end, region.low, region.top) == (259838, 8, 32768)
    a = region.allocate(3)
    assert (a, region.low) == (0xFFFF82D040809000, 12)
    b = region.allocate(2)
    assert (b, region.low) == (0xFFFF82D04080D000, 15)
    assert (region.allocate(4), region.low) == (0xFFFF82D040810000, 20)
    assert a is not None
    assert b is not None
    assert [region.size(a), region.size(a + 0x800), region.size(a + 0x1000)] == [3, 3, 0]
    region.free(b)
    assert region.low == 12
    assert (region.allocate(1), region.low) == (0xFFFF82D04080D000, 14)
    assert (region.allocate(3), region.low) == (0xFFFF82D040815000, 14)
    region.free(a)
    assert region.low == 8
    assert (region.allocate(3), region.low) == (0xFFFF82D040809000, 12)
    assert (region.allocate(2, 8), region.low) == (0xFFFF82D040820000, 12)
    assert (region.allocate(2, 6), region.low) == (0xFFFF82D04081A000, 12)


def test_the_sequence_seen_on_a_running_xen() -> None:
    region = Bitmap(0xFFFF82D0405A7000, 0xFFFF82D07FEFF000)
    assert region.end == 260440
    a, b, c = (region.allocate(pages) for pages in (3, 2, 4))
    assert (a, b, c) == (0xFFFF82D0405B0000, 0xFFFF82D0405B4000, 0xFFFF82D0405B7000)
    assert a is not None
    assert b is not None
    region.free(b)
    assert region.allocate(1) == 0xFFFF82D0405B4000
    assert region.allocate(3) == 0xFFFF82D0405BC000
    region.free(a)
    assert region.allocate(3) == 0xFFFF82D0405B0000


def test_exact_refit() -> None:
    region = Bitmap(*ARENA)
    addresses = [region.allocate(2) for _ in range(3)]
    assert [(address - region.base) // PAGE for address in addresses if address] == [9, 12, 15]
    assert region.low == 17
    assert addresses[1] is not None
    region.free(addresses[1])
    assert region.low == 11
    assert region.allocate(2) == addresses[1]
    assert region.low == 14
    region.free(addresses[1])
    assert region.low == 11
    assert region.allocate(3) == 0xFFFF82D040812000
    assert region.low == 11


@pytest.mark.parametrize(
    ("start", "end", "bits", "low", "first"),
    [
        (0xFFFF82D080400000, 0xFFFF82D0BFF00000, 260864, 8, 0xFFFF82D080409000),
        (0x800000, 0xA00000, 512, 1, 0x802000),
        (0xFFFF82C000000000, 0xFFFF82D000000000, 1 << 24, 512, 0xFFFF82C000201000),
    ],
)
def test_other_regions(start: int, end: int, bits: int, low: int, first: int) -> None:
    region = Bitmap(start, end)
    assert (region.end, region.low, region.allocate(1)) == (bits, low, first)


def test_a_request_of_no_pages_moves_the_hint() -> None:
    # spec/07 5: never freed, and the search starts one page later.
    region = Bitmap(*ARENA)
    nothing = region.allocate(0)
    assert nothing is not None
    region.free(nothing)
    assert region.allocate(1) == ARENA[0] + 10 * PAGE


def test_growth_beyond_the_first_bitmap_page_and_exhaustion() -> None:
    region = Bitmap(*ARENA)
    big = [region.allocate(30000) for _ in range(9)]
    assert None in big
    held = [address for address in big if address is not None]
    assert len(set(held)) == 8
    assert all(region.size(address) == 30000 for address in held)
    assert region.top == region.end


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=60))
@settings(deadline=None)
def test_allocations_never_touch(steps: list[tuple[bool, int]]) -> None:
    region = Bitmap(*ARENA)
    held: dict[int, int] = {}
    for take, number in steps:
        if take or not held:
            address = region.allocate(number)
            assert address is not None
            # Neither the pages nor the guard page before them belong to anybody else.
            for other, pages in held.items():
                assert address + number * PAGE < other + 1 or address > other + pages * PAGE
            held[address] = number
        else:
            address = sorted(held)[number % len(held)]
            assert region.size(address) == held.pop(address)
            region.free(address)
        assert all(region.size(address) == pages for address, pages in held.items())


def test_two_ranges_and_one_free() -> None:
    vmap = XenVmap(default := Bitmap(0xFFFF82C000000000, 0xFFFF82D000000000), arena := Bitmap(*ARENA), chosen=arena)
    address = vmap.reserve([1, 2, 3])
    assert address == 0xFFFF82D040809000
    elsewhere = default.allocate(2)
    assert elsewhere is not None
    assert (vmap.size(address), vmap.size(elsewhere), vmap.owns(address + 0x5000)) == (3, 2, False)
    vmap.release(elsewhere)
    assert (vmap.size(address), vmap.size(elsewhere)) == (3, 0)
    twin = vmap.copy()
    assert twin.reserve([4]) == 0xFFFF82D04080D000
    assert vmap.reserve([4]) == 0xFFFF82D04080D000
