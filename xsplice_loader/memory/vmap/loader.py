"""The loader finds its own holes, as in the drafts of xSplice up to version 4 (`spec/02 §7.2`).

Before anybody thought of vmap, the loader walked its own list of payloads. "How well does that work with many
payloads?" was Jan Beulich's question that started the discussion; "why not leave it there?" is the one that the mail
of 1 April 2016 closes with (`spec/05 §1`).

*Where to put an area*: start with a hole at the beginning of the range. For every payload, walk over all payloads; if
one overlaps the hole, move the hole to its end and break off. Each payload can push the hole on at most once, so as
many rounds as there are payloads are enough, and the walk ends at the lowest address that fits.

*How long is it*: every payload knows its own pages; its record is found by its start.

*Cost*: two nested walks over one list, so quadratic in the number of payloads for one hole, and cubic for loading them
all. `probes` counts payloads looked at.

*What was wrong with it as posted*: no guard page, so that a payload that runs over its end runs into the next one. The
list's lock is dropped between finding the hole and inserting the payload, so that two uploads at once could be given
one hole (one thread runs here). And the last page of the range is never used: a hole must end before the range does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.memory.vmap.areas import Area, area_at
from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence


class LoaderVmap:
    """A list of payloads in the order of their uploads, walked over twice."""

    def __init__(self, start: int, end: int) -> None:
        """Use the addresses from `start` to `end`, page addresses."""
        self.start = start
        self.end = end
        self.areas: list[Area] = []
        self.probes = 0

    def copy(self) -> LoaderVmap:
        """Return an independent copy."""
        twin = LoaderVmap(self.start, self.end)
        twin.areas = list(self.areas)
        return twin

    def reserve(self, mfns: Sequence[int]) -> int | None:
        """Return a page address for `len(mfns)` pages, or None."""
        hole = area_at(self.start, len(mfns))
        for _ in self.areas:
            blocker = self._overlapping(hole)
            if blocker is None:
                break
            hole = hole._replace(start=blocker.end)
        if hole.end >= self.end:
            return None
        self.areas.append(hole)
        return hole.start

    def release(self, address: int) -> None:
        """Give back what `reserve` returned."""
        found = self._find(address)
        if found is not None:
            self.areas.remove(found)

    def size(self, address: int) -> int:
        """Return the pages of the payload that begins exactly at `address`; 0 where there is none."""
        found = self._find(address)
        return 0 if found is None else found.pages

    def owns(self, address: int) -> bool:
        """Tell whether a payload begins exactly at `address`."""
        return self._find(address) is not None

    def _overlapping(self, hole: Area) -> Area | None:
        first, end = hole.start, hole.end
        for count, area in enumerate(self.areas, 1):
            start, pages = area
            if start < end and first < start + pages * PAGE_SIZE:
                self.probes += count
                return area
        self.probes += len(self.areas)
        return None

    def _find(self, address: int) -> Area | None:
        for count, area in enumerate(self.areas, 1):
            if area.start == address:
                self.probes += count
                return area
        self.probes += len(self.areas)
        return None
