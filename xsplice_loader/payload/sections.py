"""Section headers, section names and the symbol table, tested in Xen's order (`spec/01 §5` to `§7`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xsplice_loader.c_strings import KEPT_NAME, string_at
from xsplice_loader.payload import elf
from xsplice_loader.payload.object_file import ADDRESS_MASK, MAX_NOBITS, Header, Section, SymbolEntries
from xsplice_loader.payload.upload_buffer import in_pages
from xsplice_loader.rules import sections as rules

if TYPE_CHECKING:
    from xsplice_loader.findings import Findings

_SYMBOL_RECORD = {False: 16, True: 24}
"""Bytes that Xen allocates for each symbol, by whether it notes that a symbol's section is ignored."""
_MAX_ARRAY = (1 << 32) - 1
"""Bytes of an array that Xen allocates at most (xen/common/xmalloc_tlsf.c)."""


def _c_hex(value: int) -> str:
    """Return what C's `%#lx` prints: no prefix for 0."""
    return f"{value:#x}" if value else "0"


def read_sections(data: bytes, header: Header) -> tuple[Section, ...]:
    """Return the section headers from index 1 on, still without names."""
    return tuple(
        Section(
            index,
            b"",
            *elf.SHDR.unpack_from(data, header.section_table_offset + index * header.section_header_size)[1:],
        )
        for index in range(1, header.section_count)
    )


def check_sections(data: bytes, sections: tuple[Section, ...], findings: Findings) -> Section | None:
    """Test every section header, then return the symbol table's section, or None where there is no usable one."""
    release = findings.release
    count = len(sections) + 1
    symbol_table: Section | None = None
    for section in sections:
        _check_extent(section, len(data), findings)
        if release.checks_alignment and section.alignment:
            if section.alignment & (section.alignment - 1):
                findings.add(
                    rules.ODD_ALIGNMENT,
                    f"section {section.index} wants an alignment of {section.alignment:#x}; only powers of two "
                    "can be had",
                    words={"index": section.index, "alignment": _c_hex(section.alignment)},
                    index=section.index,
                )
            elif section.address % section.alignment:
                findings.add(
                    rules.MISALIGNED_ADDRESS,
                    f"section {section.index} has address {section.address:#x}, which is not a multiple of its "
                    f"alignment {section.alignment:#x}",
                    words={
                        "index": section.index,
                        "address": _c_hex(section.address),
                        "alignment": _c_hex(section.alignment),
                    },
                    index=section.index,
                )
        if (
            release.limits_nobits
            and section.is_nobits
            and section.flags & (elf.SHF_WRITE | elf.SHF_ALLOC)
            and section.size > MAX_NOBITS
        ):
            findings.add(
                rules.LARGE_NOBITS,
                f"section {section.index} asks for {section.size:#x} zero bytes; Xen gives at most "
                f"{MAX_NOBITS:#x} to one section",
                index=section.index,
            )
        if section.type == elf.SHT_SYMTAB:
            if symbol_table is not None:
                findings.add(
                    rules.SECOND_SYMBOL_TABLE,
                    f"sections {symbol_table.index} and {section.index} are both symbol tables",
                    index=section.index,
                )
                continue
            symbol_table = section
            if section.link >= count:
                findings.add(
                    rules.STRING_TABLE_PAST_END,
                    f"the symbol table's sh_link is {section.link}, but there are {count} sections",
                    words={"link": section.link, "count": count},
                    index=section.index,
                )
    if symbol_table is None:
        findings.add(rules.NO_SYMBOL_TABLE, "no section is of type SYMTAB; was the object stripped?")
    return symbol_table


def _check_extent(section: Section, file_size: int, findings: Findings) -> None:
    if section.offset < elf.EHDR_SIZE:
        findings.add(
            rules.DATA_IN_HEADER,
            f"section {section.index} begins at offset {section.offset:#x} of the file, inside the ELF header",
            words={"index": section.index},
            index=section.index,
        )
    if section.is_nobits:
        return
    end = section.offset + section.size
    if section.offset > file_size or (end & ADDRESS_MASK) > file_size:
        findings.add(
            rules.DATA_PAST_END,
            f"section {section.index} takes the bytes {section.offset:#x} to {end:#x}, but the file has {file_size:#x}",
            words={"index": section.index},
            index=section.index,
        )
    elif end > file_size:
        findings.add(
            rules.WILD_SIZE,
            f"section {section.index} at {section.offset:#x} claims {section.size:#x} bytes; the sum wraps around "
            "2^64, so Xen's test does not see that it is not inside the file",
            index=section.index,
        )


def wraps(section: Section) -> bool:
    """Tell whether a section's bytes reach past the end of the address space."""
    return section.offset + section.size > ADDRESS_MASK


def _is_string_table(data: bytes, section: Section, findings: Findings) -> bool | None:
    """Tell whether a section is a string table; None where Xen does not survive the look at its ends."""
    if section.type != elf.SHT_STRTAB or section.size == 0:
        return False
    if not wraps(section):
        return data[section.offset] == 0 and data[section.offset + section.size - 1] == 0
    pages = in_pages(data)
    for at in (section.offset, (section.offset + section.size - 1) & ADDRESS_MASK):
        if at >= len(pages):
            findings.add(
                rules.UPLOAD_OVERRUN,
                f"Xen looks at the last byte of section {section.index}, which is outside the upload buffer's pages",
                index=section.index,
            )
            return None
        if pages[at]:
            return False
    return True


def _strings_of(data: bytes, section: Section) -> bytes:
    """Return a string table's bytes: of one whose size wraps, everything up to the end of the upload's pages."""
    if wraps(section):
        return in_pages(data)[section.offset :]
    return data[section.offset : section.offset + section.size]


def name_sections(
    data: bytes, header: Header, sections: tuple[Section, ...], findings: Findings
) -> tuple[Section, ...] | None:
    """Return the sections with their names, or None where names cannot be read (`spec/01 §6`)."""
    table = sections[header.name_table_index - 1]
    is_table = _is_string_table(data, table, findings)
    if is_table is False:
        findings.add(
            rules.NAME_TABLE_FORM,
            f"section {table.index}, which e_shstrndx names, is not a string table that begins and ends with NUL",
            index=table.index,
        )
    if not is_table:
        return None
    strings = _strings_of(data, table)
    find = strings.find
    named, good = [], True
    for section in sections:
        at = header.section_table_offset + section.index * header.section_header_size
        (name,) = elf.WORD.unpack_from(data, at)
        if name >= table.size:
            findings.add(
                rules.SECTION_NAME_PAST_END,
                f"section {section.index} has its name at {name:#x} of a name table of {table.size:#x} bytes",
                words={"index": section.index},
                index=section.index,
            )
            good = False
        else:
            end = find(0, name, name + KEPT_NAME)
            text = strings[name:end] if end >= 0 else string_at(strings, name)
            named.append(Section(section.index, text, *section[2:]))
    return tuple(named) if good else None


def check_symbol_table(data: bytes, sections: tuple[Section, ...], section: Section, findings: Findings) -> bool:
    """Test the symbol table's header and its strings (xen/common/livepatch_elf.c: elf_resolve_sections)."""
    if section.size == 0 or section.entry_size < elf.SYM_SIZE or section.size % section.entry_size:
        findings.add(
            rules.SYMBOL_TABLE_SIZE,
            f"the symbol table has {section.size} bytes in entries of {section.entry_size}; expected a whole number of "
            f"entries of at least {elf.SYM_SIZE} bytes",
            index=section.index,
        )
        return False
    if section.link == 0:
        findings.add(
            rules.SYMBOL_TABLE_WITHOUT_STRINGS,
            "the symbol table's sh_link is 0: Xen would follow a NULL pointer",
            index=section.index,
        )
        return False
    strings = sections[section.link - 1]
    is_table = _is_string_table(data, strings, findings)
    if is_table is False:
        findings.add(
            rules.STRING_TABLE_FORM,
            f"section {strings.index}, which holds the symbols' names, is not a string table that begins and "
            "ends with NUL",
            index=strings.index,
        )
    return bool(is_table)


def read_symbols(
    data: bytes, sections: tuple[Section, ...], section: Section, findings: Findings
) -> SymbolEntries | None:
    """Return the symbol table, or None where Xen cannot read it (xen/common/livepatch_elf.c: elf_get_sym)."""
    strings = sections[section.link - 1]
    names = _strings_of(data, strings)
    # Xen counts in 32 bits.
    count = (section.size // section.entry_size) & 0xFFFF_FFFF
    if not wraps(section):
        table = np.frombuffer(data, elf.symbol_dtype(section.entry_size), count, section.offset)
    elif count == 1:
        # Entry 0 is never read.
        table = np.zeros(1, elf.symbol_dtype(elf.SYM_SIZE))
    else:
        _refuse_wild_table(data, section, count, strings, findings)
        return None
    return SymbolEntries(section.index, table, names, strings.offset, may_run_off=wraps(strings))


def _refuse_wild_table(data: bytes, section: Section, count: int, strings: Section, findings: Findings) -> None:
    """Say what becomes of a symbol table whose size wraps (xen/common/livepatch_elf.c: elf_get_sym)."""
    record = _SYMBOL_RECORD[findings.release.refuses_ignored_symbols]
    if count * record > _MAX_ARRAY:
        findings.add(
            rules.TOO_MANY_SYMBOLS,
            f"the symbol table claims {count} symbols, for which Xen cannot allocate memory",
            index=section.index,
        )
        return
    pages = in_pages(data)
    for index in range(1, count):
        at = section.offset + index * section.entry_size
        if at + elf.WORD.size > len(pages):
            break
        (name,) = elf.WORD.unpack_from(pages, at)
        if name >= strings.size:
            _refuse_name(index, name, strings.size, findings)
            return
    findings.add(
        rules.UPLOAD_OVERRUN,
        f"the symbol table claims {count} symbols, and Xen reads on after the end of the upload buffer's pages",
        index=section.index,
        stage="symbols",
    )


def check_symbol_names(symbols: SymbolEntries, size: int, findings: Findings) -> bool:
    """Test that every symbol's name begins within the string table's `size` bytes; entry 0 is not looked at."""
    outside = np.flatnonzero(symbols.table["name"][1:] >= min(size, 1 << 32)) + 1
    for index in outside.tolist():
        _refuse_name(index, int(symbols.table["name"][index]), size, findings)
    return not len(outside)


def _refuse_name(index: int, name: int, size: int, findings: Findings) -> None:
    findings.add(
        rules.SYMBOL_NAME_PAST_END,
        f"symbol {index} has its name at {name:#x} of a string table of {size:#x} bytes",
        words={"index": index},
        index=index,
    )
