"""Xen's vmap: a bitmap over a range of addresses, first fit, a guard bit before each allocation (`spec/02 §6`).

Jan Beulich wrote it in 2012 for one range of addresses, far away from Xen's text. What the discussion of 2016 ended
with is the same code for two ranges (`xen.py`, `spec/02 §7` stages a and e).

*Where to put an area*: at the lowest run of clear bits that is long enough, one bit into the run. *How long is it*:
sizes are not stored anywhere. An area is a run of set bits, and since one bit before each run stays clear, the page
there is never mapped: it is the guard page, and at the same time what lets the size be read off the bitmap. An
address anywhere in the first page of an area is recognised, one further in is not, since the bit before it is set.

*Cost*: a look-up looks at two bits, a size costs the words of one run, whatever else is loaded. The search for a hole
passes over everything below it: linear in the size of the range that is in use, though 64 pages a step.

*What is wrong with it*: of the 2 MiB that Arm has, the bitmap knows the end only when it has to grow, which a range
below 128 MiB never needs: enough allocations run past the end of the range (`spec/02 §6.2`).

Bit i stands for the page `base + i * 4096`; the first `low` pages hold the bitmap itself. The bitmap is kept as one
byte a page here, so that every search is one `find`. `probes` counts 64-bit words of Xen's bitmap: those passed over
from the start of a search to what it found, and one for each test whether an address begins an area.
"""

from __future__ import annotations

from xsplice_loader.releases import PAGE_SIZE

BITS_PER_PAGE = PAGE_SIZE * 8
BITS_PER_WORD = 64


class Bitmap:
    """One registered range (`vm_init_type`, `vm_alloc`, `vm_index`, `vm_size`, `vm_free`)."""

    def __init__(self, start: int, end: int) -> None:
        """Register the range from `start` to `end`, page addresses."""
        self.base = start
        self.end = (end - start) // PAGE_SIZE
        self.low = bitmap_pages(start, end)
        self.top = _backed_bits(self.low)
        self.bits = bytearray(self.top)
        self.bits[: self.low] = b"\1" * self.low
        self.probes = 0

    def copy(self) -> Bitmap:
        """Return an independent copy."""
        twin = object.__new__(Bitmap)
        twin.base, twin.end, twin.low, twin.top = self.base, self.end, self.low, self.top
        twin.bits = bytearray(self.bits)
        twin.probes = 0
        return twin

    def allocate(self, pages: int, alignment: int = 1) -> int | None:
        """Return the address of `pages` free pages, or None.

        `alignment` is in pages; 0 means 1, and of anything that is no power of two its lowest set bit counts.
        """
        alignment = (alignment & -alignment) or 1
        while (start := self._search(pages, alignment)) is None:
            if self.top >= self.end:
                return None
            grown = min(self.top + BITS_PER_PAGE, self.end)
            self.bits += bytes(grown - self.top)
            self.top = grown
        self.bits[start : start + pages] = b"\1" * pages
        if start <= self.low + 2:
            self.low = start + pages
        return self.base + start * PAGE_SIZE

    def _search(self, pages: int, alignment: int) -> int | None:
        return self._search_unaligned(pages) if alignment == 1 else self._search_aligned(pages, alignment)

    def _search_unaligned(self, pages: int) -> int | None:
        """Do what `_search_aligned` does for an alignment of one page, in one `find`.

        The bit `low` is always clear, so every run of clear bits that the loop comes to is looked at from its first
        bit. The area goes one bit into the run, and Xen's comparison is strict: a bit stays clear behind it too,
        except in the run at the end, which no other area follows.
        """
        run = self.bits.find(bytes(pages + 2), self.low)
        if run < 0:
            run = max(self.bits.rfind(1) + 1, self.low)
            if run + 1 + pages > self.top:
                self._count(self.low, self.top)
                return None
        self._count(self.low, run + 1 + pages)
        return run + 1

    def _search_aligned(self, pages: int, alignment: int) -> int | None:
        start = self.low
        while start < self.top:
            next_set = self._next(1, start + 1)
            # Strictly greater than before, so at least one clear bit stays in front: the guard page.
            start = (start + alignment) & ~(alignment - 1)
            if next_set >= self.top:
                return start if start + pages <= self.top else None
            if start + pages < next_set:
                return start
            start = self._next(0, next_set + 1)
        return None

    def _next(self, value: int, start: int) -> int:
        found = self.bits.find(value, start)
        found = self.top if found < 0 else found
        self._count(start, found)
        return found

    def _count(self, first: int, last: int) -> None:
        self.probes += last // BITS_PER_WORD - first // BITS_PER_WORD + 1

    def index(self, address: int) -> int:
        """Return the first bit of the allocation whose first page holds `address`; 0 where there is none."""
        page = address - address % PAGE_SIZE
        if page < self.base + self.end // 8 or page >= self.base + self.top * PAGE_SIZE:
            return 0
        self.probes += 1
        index = (address - self.base) // PAGE_SIZE
        return index if self.bits[index] and not self.bits[index - 1] else 0

    def size(self, address: int) -> int:
        """Return how many pages the allocation at `address` has; 0 where there is none."""
        index = self.index(address)
        return self._next(0, index) - index if index else 0

    def free(self, address: int) -> None:
        """Give an allocation back; an address that is none of this range's is passed over."""
        index = self.index(address)
        if not index:
            return
        if index < self.low:
            self.low = index - 1
            while not self.bits[self.low - 1]:
                self.low -= 1
        end = self._next(0, index)
        self.bits[index:end] = bytes(end - index)


def furthest(start: int, end: int) -> int:
    """Return the end of the last page that a bitmap over a range gives out: of a short range that lies behind it."""
    return max(end, start + _backed_bits(bitmap_pages(start, end)) * PAGE_SIZE)


def _backed_bits(low: int) -> int:
    """Return how many bits there are at first, when only the pages are there that hold those of the bitmap itself."""
    return _ceil_div((low + 7) // 8, PAGE_SIZE) * BITS_PER_PAGE


def bitmap_pages(start: int, end: int) -> int:
    """Return how many pages at the start of a range its bitmap takes, a bit for each page of the range."""
    return _ceil_div(((end - start) // PAGE_SIZE + 7) // 8, PAGE_SIZE)


def _ceil_div(value: int, divisor: int) -> int:
    return -(-value // divisor)
