"""The steps about memory: where sections go, and what may be done with their pages (`spec/02`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.memory.placement import is_ignored, lay_out
from xsplice_loader.memory.vmap import XenVmap
from xsplice_loader.numbers import size_text
from xsplice_loader.releases import PAGE_SIZE
from xsplice_loader.teaching.blocks import Block, Listing, Paragraph, Reach, Table
from xsplice_loader.teaching.places import count_text, hexadecimal
from xsplice_loader.teaching.scene import MOST_ROWS, silent
from xsplice_loader.teaching.walk_form import NOT_READ

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.memory.placement import Placement
    from xsplice_loader.memory.vmap.bitmap import Bitmap
    from xsplice_loader.payload import ObjectFile, Section
    from xsplice_loader.teaching.scene import Scene

DRAWN = 60
"""Bits of a bitmap that are drawn."""


def tell_placement(scene: Scene) -> Iterator[Block]:
    """Tell which section went where, and how the address was found."""
    payload = scene.payload
    if payload is None:
        yield NOT_READ
        return
    kept = sum(not is_ignored(section, scene.release) for section in payload.sections)
    rule = (
        "that ask to be loaded and are not empty" if scene.release.ignores_empty_sections else "that ask to be loaded"
    )
    yield Paragraph(
        f"{count_text(kept, 'section')} {rule}: code goes to the region text, what can be written to rw, the rest to "
        "ro. Each region begins a page, and within it sections keep the order of the section table."
    )
    if scene.trace is None:
        layout = lay_out(payload, silent(scene.release))
        sizes = ", ".join(f"{name} {count_text(size, 'byte')}" for name, size in layout.sizes.items())
        yield Paragraph(f"It would take {count_text(layout.pages, 'page')}: {sizes}. Nobody looked for an address.")
        return
    placement = scene.trace.placement
    yield _sections(payload, placement)
    yield from _address(scene, placement)


def _sections(payload: ObjectFile, placement: Placement) -> Block:
    sections = {placed.index: payload.section(placed.index) for placed in placement.sections}
    return Table(
        ("section", "flags", "region", "address", "bytes", "aligned"),
        tuple(
            (
                placed.name,
                _flags(sections[placed.index]),
                placed.region,
                hexadecimal(placed.address),
                f"{placed.size:,}",
                f"{sections[placed.index].alignment:,}",
            )
            for placed in placement.sections[:MOST_ROWS]
        ),
    )


def _flags(section: Section) -> str:
    return "".join(
        letter
        for letter, is_set in (
            ("A", section.is_allocated),
            ("W", section.is_writable),
            ("X", section.is_executable),
        )
        if is_set
    )


def _address(scene: Scene, placement: Placement) -> Iterator[Block]:
    host = scene.host
    start, end = host.design.range_of(host.hypervisor)
    pages = count_text(placement.pages, "page")
    if host.design.place is not None:
        yield Paragraph(f"{pages}, put at {hexadecimal(placement.base)} by hand: nobody looked for an address.")
    elif isinstance(vmap := host.state.virtual.vmap, XenVmap):
        yield from _bitmap(vmap.chosen, placement, start, end)
    else:
        yield Paragraph(
            f"{pages}, for which whoever finds addresses here answered {hexadecimal(placement.base)}. The range for "
            f"payloads is {hexadecimal(start)}-{hexadecimal(end)}."
        )
    way = host.hypervisor.text_start - placement.base
    yield Paragraph(
        f"Xen's text begins {size_text(way)} {'above' if way > 0 else 'below'} the payload. A call or a reference to "
        "data holds that distance in 32 signed bits:"
    )
    yield Reach(way)


def _bitmap(bitmap: Bitmap, placement: Placement, start: int, end: int) -> Iterator[Block]:
    first = (placement.base - bitmap.base) // PAGE_SIZE
    own = range(first, first + placement.pages)
    yield Paragraph(
        f"A run of {count_text(placement.pages, 'page')} is looked for in {hexadecimal(start)}-{hexadecimal(end)}. A "
        f"bitmap at its start says which of its {bitmap.end:,} pages are taken. The lowest run of free pages that is "
        f"long enough begins at bit {first - 1}; that page stays free and unmapped as a guard, and the payload begins "
        f"at bit {first}: {hexadecimal(bitmap.base)} + {first} * {PAGE_SIZE:#x} = {hexadecimal(placement.base)}."
    )
    left = max(first - DRAWN // 2, 0) if first + placement.pages > DRAWN else 0
    drawn = "".join(
        "P" if bit in own else "g" if bit == first - 1 else "#" if bitmap.bits[bit] else "."
        for bit in range(left, min(left + DRAWN, len(bitmap.bits)))
    )
    yield Listing((f"bit {left:<6}{drawn}", "# taken   P this payload   g its guard page   . free"))


def tell_permissions(scene: Scene) -> Iterator[Block]:
    """Tell what each region may be used for."""
    if scene.trace is None or scene.loaded is None:
        yield Paragraph("The payload has no pages." if scene.trace is None else "Its pages were given back.")
        return
    yield Paragraph(
        "Until now all of its pages could be written, so that relocations could be. From here on code is not written "
        "and data not run:"
    )
    yield Table(
        ("region", "pages", "access"),
        tuple(
            (region.name, str(region.pages), region.permissions)
            for region in scene.trace.placement.regions
            if region.pages
        ),
    )
