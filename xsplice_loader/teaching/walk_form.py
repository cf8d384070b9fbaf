"""The steps that look at the file alone: upload, header, sections, names, symbols (`spec/01 §2` to `§7`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xsplice_loader.payload import elf
from xsplice_loader.payload.header import MAX_SECTIONS
from xsplice_loader.rules import upload
from xsplice_loader.teaching.blocks import Block, Paragraph
from xsplice_loader.teaching.places import count_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xsplice_loader.teaching.scene import Scene

AT_UPLOAD = frozenset(rule.id for rule in upload.ALL)
"""What is tested before a byte of the file is looked at."""
NOT_READ = Paragraph("Nobody can say: the file is not in order so far that its parts could be found.")
_BINDINGS = {0: "local", 1: "global", 2: "weak"}


def tell_upload(scene: Scene) -> Iterator[Block]:
    """Tell of the tests that are made before a byte of the file is looked at."""
    limit = scene.host.state.max_size
    most = f"Xen takes {limit:,}" if limit else "no limit is set here"
    yield Paragraph(
        f"The file has {count_text(len(scene.data), 'byte')}; {most}. It is to be known as {scene.result.name}, and "
        f"{count_text(len(scene.below), 'payload') if scene.below else 'no payload'} "
        f"{'was' if len(scene.below) < 2 else 'were'} loaded before it."
    )


def tell_header(scene: Scene) -> Iterator[Block]:
    """Tell what the ELF header says."""
    data = scene.data
    if len(data) < elf.EHDR_SIZE:
        yield Paragraph(f"An ELF64 header takes {elf.EHDR_SIZE} bytes, and the file does not have that many.")
        return
    ident, kind, machine, _, _, _, offset, _, _, _, _, size, count, names = elf.EHDR.unpack_from(data)
    yield Paragraph(
        f"It begins with {ident[:4].hex(' ')}, is of type {kind} (1 is ET_REL: not laid out yet) and for machine "
        f"{machine} (62 is x86-64). A table of {count_text(count, 'section header')} of {size} bytes stands at "
        f"offset {offset:#x}; at most {MAX_SECTIONS - 1} would do. Section {names} holds the names."
    )


def tell_sections(scene: Scene) -> Iterator[Block]:
    """Tell how many sections of which kind there are."""
    if scene.payload is None:
        yield NOT_READ
        return
    sections = scene.payload.sections
    loaded = [section for section in sections if section.is_allocated]
    tables = sum(section.type in (elf.SHT_RELA, elf.SHT_REL) for section in sections)
    zeros = sum(section.size for section in loaded if section.is_nobits)
    yield Paragraph(
        f"Every offset and size was held against the file's {len(scene.data):,} bytes. Of "
        f"{count_text(len(sections), 'section')} {len(loaded)} ask to be loaded (SHF_ALLOC), with "
        f"{count_text(sum(section.size for section in loaded), 'byte')}"
        + (f", {zeros:,} of them zeros that the file need not hold (NOBITS)" if zeros else "")
        + f". Sections with relocations: {tables}. Section {scene.payload.symbols.section_index} is the symbol table."
    )


def tell_names(scene: Scene) -> Iterator[Block]:
    """Tell where the sections' names are."""
    if scene.payload is None:
        yield NOT_READ
        return
    header = scene.payload.header
    table = scene.payload.section(header.name_table_index)
    special = [section.text_name for section in scene.payload.sections if section.name.startswith(b".livepatch.")]
    yield Paragraph(
        f"Their names stand in section {header.name_table_index}, {count_text(table.size, 'byte')} that begin and end "
        "with NUL. Xen knows what a section is for by its name alone; the payload's own kind are "
        + (", ".join(special) or "missing")
        + "."
    )


def tell_symbols(scene: Scene) -> Iterator[Block]:
    """Tell how many symbols of which binding there are."""
    if scene.payload is None:
        yield NOT_READ
        return
    symbols = scene.payload.symbols
    kinds, counts = np.unique(symbols.table["info"][1:] >> 4, return_counts=True)
    by_binding = ", ".join(
        f"{count} {_BINDINGS.get(kind, f'of binding {kind}')}"
        for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True)
    )
    undefined = int((symbols.table["section"][1:] == elf.SHN_UNDEF).sum())
    yield Paragraph(
        f"{count_text(max(len(symbols) - 1, 0), 'symbol')}{f' ({by_binding})' if by_binding else ''} with names in "
        f"{count_text(len(symbols.strings), 'byte')} of strings. Undefined, so that somebody else has to know them: "
        f"{undefined}."
    )
