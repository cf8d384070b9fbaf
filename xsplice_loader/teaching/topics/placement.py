"""Where each section of a payload goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.teaching.blocks import Block, Heading, Paragraph, Table
from xsplice_loader.teaching.outcomes import verdict_text
from xsplice_loader.teaching.topics.cases import SMALL, load, result_of
from xsplice_loader.teaching.walk_memory import tell_permissions, tell_placement

if TYPE_CHECKING:
    from collections.abc import Iterator

EMPTY = (
    SMALL
    + """
        .section .empty, "a", @progbits
end_of_nothing:
        .section .rodata, "a", @progbits
        .quad   end_of_nothing
"""
)
"""With a pointer to a label in a section without a byte."""
OLD_TABLE = (", replacement, 16\n", ", replacement, 16, 0, sizeof(replacement), 1\n")


def tell() -> Iterator[Block]:
    """Yield the lesson."""
    scene = load(SMALL)
    yield Heading("Where each section goes")
    yield Paragraph(
        "An object file has sections and no addresses. Xen sorts those that ask to be loaded by two of their flags "
        "into three regions, and places the three behind one another, each from a page boundary on:"
    )
    yield from tell_placement(scene)
    yield from tell_permissions(scene)
    yield Heading("Sections without a byte")
    yield Paragraph(
        "A label in an empty section, the end of an empty table for example, still needs an address. Releases from "
        "4.8 on gave such sections none, and the label kept its raw value, an offset near 0; pointers made of it led "
        "nowhere. It took until 2022 to be found, when a distance to such a label did not fit 32 bits. The payload "
        "above with such a pointer, and with a distance instead:"
    )
    pointer, distance = EMPTY, EMPTY.replace(".quad   end_of_nothing", ".long   end_of_nothing - .")
    rows = []
    for release in ("4.13.0", "4.14.0", "4.14.4", "4.14.5", "4.17.7"):
        old = OLD_TABLE if release < "4.14" else ("", "")
        sources = [source.replace(*old) if old[0] else source for source in (pointer, distance)]
        rows.append((release, *(verdict_text(result_of(source, release=release)) for source in sources)))
    yield Table(("release", "with the pointer", "with the distance"), tuple(rows))
