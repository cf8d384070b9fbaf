"""Six ways to find an address, and what each costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.host.designs import DESIGNS
from xsplice_loader.hypervisor import Hypervisor
from xsplice_loader.memory.vmap import Bitmap
from xsplice_loader.releases import PAGE_SIZE
from xsplice_loader.teaching.blocks import Block, Heading, Items, Listing, Paragraph, Table
from xsplice_loader.teaching.places import hexadecimal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.memory.vmap import Vmap

NUMBERS = (10, 100, 400)
"""Payloads that are loaded when one more comes."""
WHAT = {
    "xen": "what was committed: a bitmap over a second range",
    "default": "the same, over Xen's ordinary range",
    "callback": "the draft of 2016: the caller finds an address, a list remembers it",
    "slots": "an array with a slot for every page",
    "tree": "records in a tree, as Linux has them",
    "loader": "the payload loader looks for a hole itself, as in version 4 of the series",
}


def tell() -> Iterator[Block]:
    """Yield the lesson."""
    hypervisor = Hypervisor.model()
    yield Heading("Six ways to find an address")
    yield Items(tuple(f"{name}: {what}" for name, what in WHAT.items()))
    yield Paragraph(
        "What each looks at (words of a bitmap, slots, records, nodes) for one payload of three pages more, when so "
        "many of one to four pages are loaded:"
    )
    made = {name: design.make(hypervisor) for name, design in DESIGNS.items()}
    yield Table(
        ("design", *(f"at {number}" for number in NUMBERS), "its size", "giving it back"),
        tuple((name, *map(str, _costs(vmap))) for name, vmap in made.items()),
    )
    yield Heading("The guard bit")
    yield from _guard(hypervisor)
    yield Heading("Holes")
    yield from _holes(hypervisor)


def _costs(vmap: Vmap) -> Iterator[int]:
    """Yield what is looked at to find an address, for a size and for giving back, when others are loaded."""
    loaded = 0
    last = 0
    for number in NUMBERS:
        while loaded < number:
            vmap.reserve(range(1 + loaded % 4))
            loaded += 1
        vmap.probes = 0
        last = vmap.reserve(range(3)) or 0
        loaded += 1
        yield vmap.probes
    for ask in (vmap.size, vmap.release):
        vmap.probes = 0
        ask(last)
        yield vmap.probes


def _guard(hypervisor: Hypervisor) -> Iterator[Block]:
    bitmap = Bitmap(hypervisor.arena_start, hypervisor.arena_end)
    first, second = (bitmap.allocate(pages) or 0 for pages in (3, 2))
    yield Paragraph(
        "Xen's bitmap stores no sizes. An area is a run of set bits, and the bit before it stays clear: that page is "
        "never mapped, so an access that runs over falls on it, and it is what tells one area from the next. Areas "
        f"of 3 and 2 pages, at {hexadecimal(first)} and {hexadecimal(second)}:"
    )
    yield Listing((_drawn(bitmap), f"sizes: {bitmap.size(first)} and {bitmap.size(second)}"))
    bitmap.bits[(second - bitmap.base) // PAGE_SIZE - 1] = 1
    yield Paragraph("Set the bit between them, and they are one:")
    yield Listing((_drawn(bitmap), f"sizes: {bitmap.size(first)} and {bitmap.size(second)}"))


def _holes(hypervisor: Hypervisor) -> Iterator[Block]:
    bitmap = Bitmap(hypervisor.arena_start, hypervisor.arena_end)
    areas = [bitmap.allocate(2) or 0 for _ in range(3)]
    bitmap.free(areas[1])
    lines = [f"{_drawn(bitmap)}   the middle one of three is given back"]
    same = bitmap.allocate(2) or 0
    lines.append(f"{_drawn(bitmap)}   two pages again: the same place" if same == areas[1] else _drawn(bitmap))
    bitmap.free(same)
    larger = bitmap.allocate(3) or 0
    lines.append(f"{_drawn(bitmap)}   three pages: {'behind' if larger > areas[2] else 'between'} the others")
    yield Paragraph("A hole is filled again by what has its size, and not by what is a page larger:")
    yield Listing(tuple(lines))


def _drawn(bitmap: Bitmap) -> str:
    return "".join("#" if bit else "." for bit in bitmap.bits[:24])
