"""An area as the designs that write its size down keep it."""

from __future__ import annotations

from typing import NamedTuple

from xsplice_loader.releases import PAGE_SIZE


class Area(NamedTuple):
    """A run of pages that was given out."""

    start: int
    pages: int

    @property
    def end(self) -> int:
        """End address."""
        return self.start + self.pages * PAGE_SIZE


def area_at(start: int, pages: int) -> Area:
    """Return the area of `pages` pages; no pages take one page of addresses, so that no two areas begin at one."""
    return Area(start, pages or 1)
