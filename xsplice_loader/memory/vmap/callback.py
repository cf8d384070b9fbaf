"""The draft of 1 April 2016: a callback chooses the address, a linked list remembers it (`spec/02 §7.1`).

Konrad Rzeszutek Wilk posted it as "vmap: Add vmalloc_cb" and asked whether this was the way. Relocations of a payload
reach 2 GiB, the vmap range is 66 GiB away from Xen's text, so somebody else has to say where a payload goes: the
caller, through a function that is given the machine frames and answers with an address.

*Where to put an area* is thereby left open. `NextFitVmap` is what a user of the draft would have written: go on where
the last area ended, step over what is in the way, start again from the front once; no guard pages. A callback is not
told when its address is given back, since an earlier version's second callback had been dropped (`spec/05 §1`); it
has to look at its own list of payloads, which here is the list that the design keeps.

*How long is it*: the bitmap of the ordinary range is asked first. An address that it does not know is looked for in
the list of `{va, pages}`, newest first.

*Cost*: linear in the number of areas, and three times so for one `vfree`: it asks for the size, the unmapping inside
asks again, and the record is searched once more to unlink it. `probes` counts records looked at, and the words that
the bitmap looks at.

*What was wrong with it as posted*: only the exact start of an area is found, where the bitmap knows any address in the
first page. Nothing keeps a guard page between areas. The list's lock is dropped between finding a record and using
it, so that two frees of one address could both find it (one thread runs here, so that cannot be shown). And an
address of the ordinary range that the callback hands out is answered by the bitmap, whatever the list says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.memory.vmap.areas import Area, area_at
from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xsplice_loader.memory.vmap.bitmap import Bitmap
    from xsplice_loader.memory.vmap.protocol import VmapCallback


class CallbackVmap:
    """Asks a callback of the shape of 2016's `vmap_cb_t`, and keeps a list of areas beside the ordinary bitmap."""

    def __init__(self, default: Bitmap, callback: VmapCallback) -> None:
        """`default` is the bitmap of the ordinary range, in charge of what was allocated from it."""
        self.default = default
        self.areas: list[Area] = []
        """What the callback gave out, newest first."""
        self._callback = callback
        self._probes = 0

    @property
    def probes(self) -> int:
        """Records of the list, and words of the bitmap, looked at so far."""
        return self._probes + self.default.probes

    @probes.setter
    def probes(self, count: int) -> None:
        self._probes, self.default.probes = count, 0

    def copy(self) -> CallbackVmap:
        """Return a design that asks the same callback; what the callback itself remembers cannot be copied."""
        twin = CallbackVmap(self.default.copy(), self._callback)
        twin.areas = list(self.areas)
        return twin

    def reserve(self, mfns: Sequence[int]) -> int | None:
        """Return what the callback answers."""
        address = self._callback(mfns, len(mfns))
        if not isinstance(address, int):
            # None, or no number at all: VirtualMemory says which.
            return address
        if self.default.index(address):
            # The draft would keep a record that nobody finds: for this address, the bitmap answers.
            return None
        self.areas.insert(0, area_at(address, len(mfns)))
        return address

    def release(self, address: int) -> None:
        """Forget an address, the way `vfree` did: ask for the size, ask again while unmapping, find and unlink."""
        self.size(address)  # how many pages to free
        self.size(address)  # how many pages to unmap
        if self.default.index(address):
            self.default.free(address)
        elif (found := self._find(address)) is not None:
            self.areas.remove(found)

    def size(self, address: int) -> int:
        """Return the pages of the area; 0 where there is none."""
        if pages := self.default.size(address):
            return pages
        found = self._find(address)
        return 0 if found is None else found.pages

    def owns(self, address: int) -> bool:
        """Tell whether an area begins exactly at `address`, or the bitmap knows it."""
        return self.default.index(address) > 0 or self._find(address) is not None

    def _find(self, address: int) -> Area | None:
        for count, area in enumerate(self.areas, 1):
            if area.start == address:
                self._probes += count
                return area
        self._probes += len(self.areas)
        return None


class NextFitVmap(CallbackVmap):
    """The draft with a callback of the plainest kind: the next free pages of a range, without guard pages."""

    def __init__(self, default: Bitmap, start: int, end: int) -> None:
        """Give the callback the addresses from `start` to `end`, page addresses."""
        super().__init__(default, self._next_fit)
        self.start = start
        self.end = end
        self._next = start

    def copy(self) -> NextFitVmap:
        """Return an independent copy."""
        twin = NextFitVmap(self.default.copy(), self.start, self.end)
        twin.areas = list(self.areas)
        twin._next = self._next
        return twin

    def _next_fit(self, mfns: Sequence[int], pages: int) -> int | None:
        del mfns
        for first in (self._next, self.start):
            hole = area_at(first, pages)
            while (blocker := self._overlapping(hole)) is not None:
                hole = hole._replace(start=blocker.end)
            if hole.end <= self.end:
                self._next = hole.end
                return hole.start
        return None

    def _overlapping(self, hole: Area) -> Area | None:
        first, end = hole.start, hole.end
        for count, area in enumerate(self.areas, 1):
            start, pages = area
            if start < end and first < start + pages * PAGE_SIZE:
                self._probes += count
                return area
        self._probes += len(self.areas)
        return None
