"""What lies where in the range for payloads: allocations, guard pages, holes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from xsplice_loader.releases import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xsplice_loader.memory.mapping import Mapping

Kind = Literal["bitmap", "guard", "payload", "free"]
Guards = Literal["before", "behind", "none"]
"""Where a design keeps an unmapped page for each allocation."""


class Stretch(NamedTuple):
    """Pages that serve one purpose."""

    start: int
    pages: int
    kind: Kind


class ArenaMap(NamedTuple):
    """The stretches of a range in ascending order, without gaps."""

    stretches: tuple[Stretch, ...]

    @property
    def free_pages(self) -> int:
        """Pages that could still be given out, guard pages not counted."""
        return sum(stretch.pages for stretch in self.stretches if stretch.kind == "free")

    @property
    def largest_hole(self) -> int:
        """Pages of the largest free stretch."""
        return max((stretch.pages for stretch in self.stretches if stretch.kind == "free"), default=0)

    @property
    def fragmentation(self) -> float:
        """The part of the free pages that lies outside the largest hole, from 0 to 1."""
        return 1 - self.largest_hole / self.free_pages if self.free_pages else 0.0


def arena_map(start: int, end: int, mappings: Sequence[Mapping], *, bitmap_pages: int, guards: Guards) -> ArenaMap:
    """Return the map of the range from `start` to `end`.

    `bitmap_pages` at its start hold a design's own bitmap; `guards` says where a page is kept free for each allocation.
    """
    return ArenaMap(tuple(_stretches(start, end, mappings, bitmap_pages, guards)))


def _stretches(
    start: int, end: int, mappings: Sequence[Mapping], bitmap_pages: int, guards: Guards
) -> Iterator[Stretch]:
    position = start
    if bitmap_pages:
        yield Stretch(start, bitmap_pages, "bitmap")
        position += bitmap_pages * PAGE_SIZE
    for mapping in mappings:
        if not start <= mapping.start < end or mapping.start < position or not mapping.mfns:
            continue
        gap = (mapping.start - position) // PAGE_SIZE
        before = min(gap, int(guards == "before"))
        if gap > before:
            yield Stretch(position, gap - before, "free")
        if before:
            yield Stretch(mapping.start - PAGE_SIZE, 1, "guard")
        yield Stretch(mapping.start, len(mapping.mfns), "payload")
        position = mapping.end
        if guards == "behind" and position < end:
            yield Stretch(position, 1, "guard")
            position += PAGE_SIZE
    if position < end:
        yield Stretch(position, (end - position) // PAGE_SIZE, "free")
