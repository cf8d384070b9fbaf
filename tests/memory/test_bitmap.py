"""The final allocator: the vectors of spec/02 §6.5, and a model of a few lines."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xsplice_loader.memory.vmap import Bitmap, XenVmap
from xsplice_loader.memory.vmap import bitmap as bitmap_module

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


class Reference:
    """The algorithm of spec/02 §6.2 to §6.4, step by step, on a list of bits."""

    def __init__(self, end: int, page_bits: int) -> None:
        self.end = end
        self.page_bits = page_bits
        self.low = -(-((end + 7) // 8) // PAGE)
        self.top = -(-((self.low + 7) // 8) // PAGE) * page_bits
        self.bits = [index < self.low for index in range(self.top)]

    def next_bit(self, value: bool, start: int) -> int:
        while start < self.top and self.bits[start] != value:
            start += 1
        return min(start, self.top)

    def search(self, pages: int, alignment: int) -> int | None:
        s = self.low
        while s < self.top:
            b = self.next_bit(True, s + 1)
            s = (s + alignment) & ~(alignment - 1)
            if b < self.top:
                if s + pages < b:
                    return s
                s = self.next_bit(False, b + 1)
            else:
                if s + pages <= b:
                    return s
                s = b
        return None

    def allocate(self, pages: int, alignment: int) -> int | None:
        if alignment == 0:
            alignment = 1
        while alignment & (alignment - 1):
            alignment = alignment & -alignment
        while (s := self.search(pages, alignment)) is None:
            if self.top >= self.end:
                return None
            top = min(self.top + self.page_bits, self.end)
            self.bits += [False] * (top - self.top)
            self.top = top
        for index in range(s, s + pages):
            self.bits[index] = True
        if s <= self.low + 2:
            self.low = s + pages
        return s

    def index(self, index: int) -> int:
        if index * PAGE < self.end // 8 // PAGE * PAGE or index >= self.top:
            return 0
        return index if self.bits[index] and not self.bits[index - 1] else 0

    def size(self, index: int) -> int:
        index = self.index(index)
        return self.next_bit(False, index) - index if index else 0

    def free(self, index: int) -> None:
        index = self.index(index)
        if not index:
            return
        if index < self.low:
            self.low = index - 1
            while not self.bits[self.low - 1]:
                self.low -= 1
        while index < self.top and self.bits[index]:
            self.bits[index] = False
            index += 1


REQUEST = st.tuples(st.integers(0, 12), st.sampled_from([1, 1, 1, 1, 0, 2, 4, 6, 8, 16]))
FREE = st.integers(0, 200)


@given(
    end=st.integers(20, 300),
    page_bits=st.sampled_from([32, 64, 128]),
    steps=st.lists(st.one_of(REQUEST, REQUEST, FREE), max_size=80),
)
# A request of no pages moves `low` away from the last set bit.
@example(end=32, page_bits=32, steps=[(0, 1), (29, 1)])
@settings(deadline=None, max_examples=300)
def test_the_quick_search_finds_what_the_loop_finds(
    end: int, page_bits: int, steps: list[tuple[int, int] | int]
) -> None:
    # A page of the bitmap is taken to hold a few bits only, so that growing, and running past the end of a range that
    # is smaller than that, happen within a few steps.
    with mock.patch.object(bitmap_module, "BITS_PER_PAGE", page_bits):
        base = 0xFFFF82D040800000
        bitmap, reference = Bitmap(base, base + end * PAGE), Reference(end, page_bits)
        held: list[int] = []
        for step in steps:
            if isinstance(step, tuple):
                expected = reference.allocate(*step)
                found = bitmap.allocate(*step)
                assert found == (None if expected is None else base + expected * PAGE)
                if expected is not None:
                    held.append(expected)
            else:
                # Mostly an area, now and then anything.
                index = held[step % len(held)] if held and step % 5 else step
                assert bitmap.size(base + index * PAGE) == reference.size(index)
                bitmap.free(base + index * PAGE)
                reference.free(index)
            assert (bitmap.low, bitmap.top) == (reference.low, reference.top)
            assert list(bitmap.bits) == reference.bits


def test_probes_are_words_of_the_bitmap() -> None:
    region = Bitmap(*ARENA)
    held = [region.allocate(63) for _ in range(10)]
    assert held[0] is not None
    region.probes = 0
    # One word for the question whether an area begins there, and bits 9 to 72 are in two words.
    assert region.size(held[0]) == 63
    assert region.probes == 3
    region.free(held[0])
    region.probes = 0
    # The hole is too small; bits 8 to 712, behind the tenth area, lie in the words 0 to 11.
    assert region.allocate(64) == ARENA[0] + (9 + 10 * 64) * PAGE
    assert region.probes == 12
