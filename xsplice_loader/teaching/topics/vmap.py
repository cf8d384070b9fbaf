"""Why a payload cannot live in Xen's ordinary vmap area."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.memory.address_map import default_arena_end, default_vmap
from xsplice_loader.memory.vmap import Bitmap
from xsplice_loader.numbers import signed_bits
from xsplice_loader.releases import GIB, release
from xsplice_loader.teaching.blocks import Block, Heading, Paragraph, Reach, Table
from xsplice_loader.teaching.outcomes import verdict_text
from xsplice_loader.teaching.places import hexadecimal
from xsplice_loader.teaching.topics.cases import SMALL, result_of

if TYPE_CHECKING:
    from collections.abc import Iterator

LAYOUTS = ("4.7.0", "4.9.0", "4.14.0", "4.17.7")
"""A release of each layout of Xen's part of the address space."""


def tell() -> Iterator[Block]:
    """Yield the lesson."""
    newest = release("4.17.7")
    start, end = default_vmap(newest)
    text = newest.xen_virt_start + newest.image_offset
    yield Heading("Why not vmalloc")
    yield Paragraph(
        "Whoever needs memory in Xen that looks contiguous asks vmalloc, and gets an address in the vmap area: "
        f"{hexadecimal(start)} to {hexadecimal(end)}, {(end - start) // GIB} GiB. For a payload that is the obvious "
        f"place to ask, and it does not work: Xen's text begins at {hexadecimal(text)}, and its code reaches 2 GiB."
    )
    yield Reach(start - text)
    yield Paragraph(
        "How many GiB from the text the area begins and ends, and the payload range ends, by release; negative is "
        "below. In brackets the signed bits that such a distance takes:"
    )
    yield Table(
        ("release", "text begins at", "to its start", "to its end", "payloads' end"),
        tuple(map(_row, LAYOUTS)),
    )
    first = Bitmap(start, end).allocate(1) or 0
    yield Paragraph(
        "Up to 4.13 not one byte of the area can be reached. In 4.14 Xen moved down by 1 GiB, and the area's last "
        "gigabyte came within reach; that does not help, because addresses are given out from the bottom: the first is "
        f"{hexadecimal(first)}."
    )
    yield Heading("What is done instead")
    yield Paragraph(
        "Xen's own range of 1 GiB is mostly empty behind its image. The payload range is what is left of it, so that "
        "every distance in it is less than 1 GiB. The allocator is the same as for vmalloc, over a second range."
    )
    ways = [("xen", "behind Xen's image"), ("default", "in the vmap area")]
    results = [(where, result_of(SMALL, vmap=vmap)) for vmap, where in ways]
    yield Table(
        ("the same payload", "at", "verdict"),
        tuple(
            (where, hexadecimal(result.regions[0].address) if result.regions is not None else "-", verdict_text(result))
            for where, result in results
        ),
    )


def _row(name: str) -> tuple[str, ...]:
    rules = release(name)
    text = rules.xen_virt_start + rules.image_offset
    start, end = default_vmap(rules)
    ways = [start - text, end - text, default_arena_end(rules, rules.xen_virt_start) - text]
    return (name, hexadecimal(text), *(f"{way / GIB:.4f} ({signed_bits(way)})" for way in ways))
