"""What a relocation is, with numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsplice_loader.teaching.anatomy import anatomy
from xsplice_loader.teaching.blocks import Block, Heading, Listing, Paragraph, Table
from xsplice_loader.teaching.relocation_blocks import relocation_blocks
from xsplice_loader.teaching.topics.cases import CALL, SMALL, load, source_lines

if TYPE_CHECKING:
    from collections.abc import Iterator


def tell() -> Iterator[Block]:
    """Yield the lesson."""
    scene = load(SMALL)
    yield Heading("What a relocation is")
    yield Paragraph(
        "A compiler does not know where its code will stand, nor where the functions are that it calls. It leaves "
        "those fields empty and writes a note for each: at this offset of this section (r_offset) goes the address "
        "of that symbol, plus a number (r_addend), calculated in this way (the type). Such a note is a relocation. "
        "Who puts the code somewhere carries them out: a linker for a program, Xen for a live patch."
    )
    yield Listing(source_lines(SMALL)[:9])
    yield Paragraph(
        "Three of these instructions wait for an address. The psABI, which defines the types, calls the symbol's "
        "address S, the addend A, and the place of the field P. Xen carries out four types; two store S + A in 64 "
        "bits or nothing at all, the other two store a distance, S + A - P, in 32 bits:"
    )
    places = [anatomy(scene, ".text", index) for index in range(3)]
    yield Table(
        ("entry", "type", "symbol", "A", "S + A - P"),
        tuple(
            (f".text:{found.index}", found.type, found.symbol, str(found.a.value), f"{found.value:#x}")
            for found in places
            if found.value is not None
        ),
    )
    yield Paragraph("Here is the call, from the bytes in the file to what it reaches:")
    yield from relocation_blocks(places[CALL])
    yield Heading("Why A is -4")
    yield Paragraph(
        "The processor adds the displacement to the address of the next instruction, and the field, 4 bytes long, is "
        "the last thing in this one. So the way is 4 bytes shorter seen from there than seen from the field, and the "
        "assembler says so in the addend. Where more bytes follow the field, as in cmpl $0, variable(%rip), A is -5."
    )
